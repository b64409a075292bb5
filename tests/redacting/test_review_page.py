"""review.html in a real browser: decisions by mouse, finger and keyboard, which the second pass takes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import CHROMIUM, DRIVER, Browser, browser
from conftest import Outcome
from reviewed_run import LOW, page_of, pixels_of, report_of

pytest_plugins = ("tiny_album", "tiny_archive")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Chromium and chromedriver"),
]

Run = Callable[..., Outcome]
KEYS = {"Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Tab": 9}
SHIFT = 8
# The card of an image by its name, and one of its buttons by its text.
CARD = """
const heading = [...document.querySelectorAll("article h2")].find((each) => each.textContent === arguments[0]);
const card = heading.closest("article");
"""
BUTTON = f"{CARD} const found = [...card.querySelectorAll('button')].find((each) => each.textContent === arguments[1]);"
PLACE = f"{CARD} card.scrollIntoView(); const place = card.querySelector('.frame').getBoundingClientRect();"
REFUSED = (
    "window.refused = []; document.addEventListener('securitypolicyviolation', (e) => refused.push(e.blockedURI));"
)


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def run(mlcycle: Run, archive: Path, tiny: Path, tmp_path: Path) -> Path:
    mlcycle("redact", archive, "--model", tiny, "--out", tmp_path / "run", *LOW)
    return tmp_path / "run"


@pytest.fixture
def page(window: Browser, run: Path, tmp_path: Path) -> Browser:
    (tmp_path / "downloads").mkdir()
    window.save_to(tmp_path / "downloads")
    return opened(window, run)


def opened(window: Browser, run: Path) -> Browser:
    window.open(f"file://{run / 'review.html'}")
    window.wait_for("document.body.dataset.state === 'ready'", 20)
    return window


def press(page: Browser, name: str, text: str) -> None:
    page.run(f"{BUTTON} found.click();", name, text)


def key(page: Browser, name: str, modifiers: int = 0) -> None:
    values = {"key": name, "code": name, "windowsVirtualKeyCode": KEYS.get(name, ord(name[0].upper()))}
    values |= {"text": name} if len(name) == 1 else {"text": "\r"} if name == "Enter" else {}
    for kind in ("keyDown", "keyUp"):
        page.command("Input.dispatchKeyEvent", type=kind, modifiers=modifiers, **values)


def points(page: Browser, name: str, *shares: tuple[float, float]) -> list[tuple[float, float]]:
    """Returns places in the picture of an image, given as shares of its sides, in pixels of the window."""
    x, y, width, height = page.run(f"{PLACE} return [place.x, place.y, place.width, place.height];", name)
    return [(x + across * width, y + down * height) for across, down in shares]


def drag(page: Browser, start: tuple[float, float], end: tuple[float, float]) -> None:
    (x1, y1), (x2, y2) = start, end
    for kind, x, y in (("mousePressed", x1, y1), ("mouseMoved", x2, y2), ("mouseReleased", x2, y2)):
        page.command("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)


def swipe(page: Browser, start: tuple[float, float], end: tuple[float, float]) -> None:
    for kind, place in (("touchStart", start), ("touchMove", end), ("touchEnd", None)):
        touches = [{"x": place[0], "y": place[1]}] if place else []
        page.command("Input.dispatchTouchEvent", type=kind, touchPoints=touches)


def saved(page: Browser, folder: Path) -> dict[str, Any]:
    page.run("document.querySelector('#save').click();")
    deadline = time.monotonic() + 20
    while not (folder / "decisions.json").exists():
        assert time.monotonic() < deadline, page.text()
        time.sleep(0.05)
    return json.loads((folder / "decisions.json").read_text())


def test_a_review_by_mouse_is_taken_by_the_second_pass(
    mlcycle: Run, page: Browser, run: Path, archive: Path, tmp_path: Path
) -> None:
    page.run(REFUSED)
    page.requests()
    press(page, "bar.png", "Remove")
    press(page, "none.jpg", "Add a region")
    drag(page, *points(page, "none.jpg", (0.25, 0.25), (0.5, 0.75)))
    press(page, "one.jpg", "Add a region")
    press(page, "one.jpg", "Accept")  # which ends the drawing
    assert page.run("return document.querySelectorAll('.drawing[tabindex], .draft').length") == 0
    assert page.run("return document.querySelector('#progress').textContent") == "3 of 4 images decided"
    document = saved(page, tmp_path / "downloads")
    assert f"mlcycle redact {archive} --out {run} --decisions decisions.json" in page.text()
    by_name = {each["input"]: each for each in document["images"]}
    assert by_name.keys() == {"bar.png", "none.jpg", "one.jpg"}
    assert (by_name["bar.png"]["removed"], by_name["one.jpg"]["accepted"]) == ([1], True)
    (box,) = by_name["none.jpg"]["added"]
    assert box == pytest.approx([150, 100, 300, 300], abs=2)
    assert (page.requests(), page.run("return refused")) == ([], [])

    outcome = mlcycle("redact", archive, "--out", run, "--decisions", tmp_path / "downloads" / "decisions.json")
    assert "2 images redacted again" in outcome.err
    assert np.array_equal(pixels_of(run / "redacted/bar.png"), pixels_of(archive / "bar.png"))
    assert report_of(run)["decisions"]["added_regions"] == 1
    assert [each["kind"] for each in page_of(run)["images"]] == ["sample", "decided", "decided", "decided"]


def test_a_review_by_keyboard_alone(page: Browser, tmp_path: Path) -> None:
    page.run("document.querySelector('article').focus();")
    key(page, "a")  # accepts bar.png, and goes on to none.jpg
    key(page, "d")
    assert page.run("return document.activeElement.getAttribute('role')") == "application"
    key(page, "ArrowLeft")
    key(page, "ArrowUp")
    assert "Box of 80 by 80 pixels at 254, 154" in page.run("return document.querySelector('#said').textContent")
    key(page, "ArrowRight", SHIFT)
    key(page, "Enter")
    assert page.run("return document.activeElement.textContent") == "Add a region"
    key(page, "d")
    key(page, "Escape")
    key(page, "n")
    key(page, "p")
    assert page.run("return document.activeElement.querySelector('h2').textContent") == "none.jpg"
    document = saved(page, tmp_path / "downloads")
    assert [each["input"] for each in document["images"]] == ["bar.png", "none.jpg"]
    assert document["images"][0]["accepted"]
    assert document["images"][1]["added"] == [[254, 154, 340, 234]]


def test_a_finger_draws_on_a_phone(page: Browser, tmp_path: Path) -> None:
    page.command("Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=2, mobile=True)
    page.command("Emulation.setTouchEmulationEnabled", enabled=True)
    try:
        assert page.run("return document.documentElement.scrollWidth") == 360
        press(page, "none.jpg", "Add a region")
        scrolled = page.run(f"{PLACE} return scrollY;", "none.jpg")
        swipe(page, *points(page, "none.jpg", (0.9, 0.8), (0.6, 0.5)))  # to the top left: the corners change places
        assert page.run("return scrollY") == scrolled  # the page did not scroll instead
        press(page, "none.jpg", "Add a region")
        swipe(page, *points(page, "none.jpg", (0.2, 0.2), (0.2, 0.2)))  # a tap is no box
        press(page, "none.jpg", "Cancel")
    finally:
        page.command("Emulation.setTouchEmulationEnabled", enabled=False)
        page.command("Emulation.clearDeviceMetricsOverride")
    (image,) = saved(page, tmp_path / "downloads")["images"]
    (box,) = image["added"]
    assert box == pytest.approx([360, 200, 540, 320], abs=4)


def test_decisions_are_kept_in_the_browser_until_the_next_pass(
    mlcycle: Run, page: Browser, run: Path, archive: Path, tmp_path: Path
) -> None:
    press(page, "bar.png", "Remove")
    press(page, "one.jpg", "Accept")
    opened(page, run)
    assert page.run("return document.querySelector('#progress').textContent") == "2 of 4 images decided"
    saved(page, tmp_path / "downloads")
    press(page, "none.jpg", "Accept")  # not in the file
    mlcycle("redact", archive, "--out", run, "--decisions", tmp_path / "downloads" / "decisions.json")
    opened(page, run)
    assert page.run("return document.querySelector('#progress').textContent") == "2 of 4 images decided"
    assert "other decisions on 1 image, from before the last pass" in page.text()
    page.run("[...document.querySelectorAll('#earlier button')][0].click();")
    assert page.run("return document.querySelector('#progress').textContent") == "3 of 4 images decided"
    press(page, "bar.png", "Undo all")  # what the run has is taken back by the file
    (tmp_path / "downloads" / "decisions.json").unlink()
    by_name = {each["input"]: each for each in saved(page, tmp_path / "downloads")["images"]}
    assert (by_name["bar.png"]["accepted"], by_name["bar.png"]["removed"]) == (False, [])
    assert by_name["none.jpg"]["accepted"]


def test_every_control_has_a_name_and_filters_work(page: Browser) -> None:
    nodes = page.command("Accessibility.getFullAXTree")["nodes"]
    roles = ("button", "combobox", "image", "heading", "DisclosureTriangle")
    named = [(each["role"]["value"], each["name"]["value"]) for each in nodes if each["role"]["value"] in roles]
    assert [role for role, name in named if not name] == []
    assert ("button", "Remove region 1: it is not a face") in named
    assert ("button", "Accept bar.png") in named
    assert ("image", "bar.png, 1 covered region") in named
    page.run("const filter = document.querySelector('#filter'); filter.value = 'empty';"
             "filter.dispatchEvent(new Event('change'));")  # fmt: skip
    assert page.run("return [...document.querySelectorAll('article h2')].map((each) => each.textContent)") == [
        "none.jpg"
    ]


def test_a_page_of_many_images_is_paged(
    mlcycle: Run, window: Browser, archive: Path, tiny: Path, tmp_path: Path
) -> None:
    for number in range(30):
        (archive / f"more-{number:02d}.jpg").hardlink_to(archive / "none.jpg")
    mlcycle("redact", archive, "--model", tiny, "--out", tmp_path / "run", *LOW, "--review-images", "25")
    page = opened(window, tmp_path / "run")
    assert "7 more images to review will be listed after a second pass" in page.text()
    assert page.run("return document.querySelectorAll('article').length") == 12
    for expected in (12, 1):
        page.run("[...document.querySelectorAll('#pager button')].at(-1).click();")
        assert page.run("return document.querySelectorAll('article').length") == expected
    assert "25 to 25 of 25 images" in page.text()
    # Equal images have decisions of their own.
    page.run("[...document.querySelectorAll('article .primary')].at(-1).click();")
    assert page.run("return document.querySelector('#progress').textContent") == "1 of 25 images decided"
