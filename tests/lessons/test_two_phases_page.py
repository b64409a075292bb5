"""The page with the slider: its content is a real training's, and it works from a file in a real browser."""

from __future__ import annotations

import base64
import importlib.util
import json
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from browser import CHROMIUM, DRIVER, Browser, browser
from PIL import Image

pytest_plugins = ("small_run",)
LESSONS = Path(__file__).parents[2] / "docs" / "lessons"
PAGE, TEMPLATE = LESSONS / "two-phases.html", LESSONS / "slider" / "page.html"
CONTENT = re.compile(r"^const content = (\{.*\});$", re.MULTILINE)
in_browser = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Chromium and chromedriver")
# Moves the slider to one of its places, as a finger does.
MOVE = """
const slider = document.getElementById('step');
slider.value = arguments[0];
slider.dispatchEvent(new Event('input'));
"""


def content_of(page: Path) -> dict[str, Any]:
    found = CONTENT.search(page.read_text("utf-8"))
    assert found
    return json.loads(found[1])


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    return content_of(PAGE)


def test_the_page_is_the_template_with_its_content() -> None:
    text = PAGE.read_text("utf-8")
    assert CONTENT.sub("const content = /*CONTENT*/;", text, count=1) == TEMPLATE.read_text("utf-8")
    assert len(text.encode()) < 400_000


def test_the_page_names_no_other_address() -> None:
    text = CONTENT.sub("", PAGE.read_text("utf-8"))
    assert "default-src 'none'" in text
    assert not re.search(r"https?:|//\w|@import|url\(", text)


def test_every_step_has_weights_of_its_own(content: dict[str, Any]) -> None:
    steps = [each["step"] for each in content["steps"]]
    assert steps == [*range(0, 1801, 20)]
    assert len({each["digest"] for each in content["steps"]}) == len(steps)
    assert all(len(base64.b64decode(each["filters"])) == 216 for each in content["steps"])
    assert content["losses"][0][1] > 2 * content["losses"][-1][1]
    assert content["best"] == max(content["scores"], key=lambda each: each[1])[0]


def test_the_file_finds_what_its_step_found(content: dict[str, Any]) -> None:
    [best] = [each for each in content["steps"] if each["step"] == content["best"]]
    for image, guesses in zip(content["images"], best["guesses"], strict=True):
        faces = [each for each in guesses if each[4] >= content["threshold"]]
        assert len(faces) == len(image["frozen"])
        for one, other in zip(faces, image["frozen"], strict=True):
            assert one == pytest.approx(other, abs=1.01)
    assert best["filters"] == content["filters"]


def test_the_images_are_whole_and_have_their_sources(content: dict[str, Any]) -> None:
    for each in content["images"]:
        with Image.open(BytesIO(base64.b64decode(each["uri"].partition(",")[2]))) as image:
            assert image.width / image.height == pytest.approx(each["width"] / each["height"], abs=0.01)
        assert re.search("public domain|CC0", each["source"])


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def page(window: Browser) -> Browser:
    window.open(PAGE.as_uri())
    return window


def half(page: Browser, name: str) -> tuple[str, list[str], str]:
    """Returns the picture of a half, its filters as data URIs, and its words."""
    canvases = {"train": "moving", "infer": "frozen"}[name]
    return tuple(
        page.run(
            "const half = document.querySelector(arguments[0]), filters = document.getElementById(arguments[1]);"
            "return [half.querySelector('svg').outerHTML, [...filters.children].map((each) => each.toDataURL()),"
            "half.innerText];",
            f".{name}",
            canvases,
        )
    )


@pytest.mark.slow
@in_browser
def test_the_slider_moves_the_training_and_never_the_file(page: Browser, content: dict[str, Any]) -> None:
    frozen, seen = half(page, "infer"), []
    for place in (0, 15, 45, 90):
        page.run(MOVE, place)
        seen.append(half(page, "train"))
        assert f"step {20 * place:,}" in page.run("return document.getElementById('label').value")
        assert content["steps"][place]["digest"] in seen[-1][2]
        assert half(page, "infer") == frozen
    for part in (0, 1, 2):
        assert len({str(each[part]) for each in seen}) > 2
    assert [each["url"] for each in page.requests()] == [PAGE.as_uri()]


@pytest.mark.slow
@in_browser
def test_the_last_place_is_the_frozen_file(page: Browser) -> None:
    page.run(MOVE, 10_000)
    training, inference = half(page, "train"), half(page, "infer")
    assert page.run("return document.getElementById('step').getAttribute('aria-valuetext')") == "frozen"
    assert "Trained" in training[2]
    assert training[:2] == inference[:2]


@pytest.mark.slow
@in_browser
def test_another_image_changes_what_the_file_finds_and_not_the_file(page: Browser) -> None:
    page.run(MOVE, 91)
    before = half(page, "infer")
    page.run("document.querySelectorAll('#choice button')[2].click()")
    after = half(page, "infer")
    assert "one place" in before[2]
    assert "No face" in after[2]
    assert before[1] == after[1]


@pytest.mark.slow
@in_browser
def test_it_plays_to_the_end_and_by_keyboard(page: Browser) -> None:
    page.run(MOVE, 85)
    page.run("document.getElementById('play').click()")
    page.wait_for("document.getElementById('label').value === 'frozen'", 20)
    assert page.run("return document.getElementById('play').textContent") == "Play"
    page.run("document.getElementById('step').focus()")
    for kind in ("keyDown", "keyUp"):
        page.command("Input.dispatchKeyEvent", type=kind, key="Home", code="Home", windowsVirtualKeyCode=36)
    page.wait_for("document.getElementById('label').value === 'step 0'", 20)


@pytest.mark.slow
@in_browser
@pytest.mark.parametrize("width", [320, 390, 1100])
def test_nothing_is_cut_off(page: Browser, width: int) -> None:
    page.command("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=True)
    try:
        for place in (0, 45, 91):
            page.run(MOVE, place)
            assert page.run("return document.documentElement.scrollWidth") == width
    finally:
        page.command("Emulation.clearDeviceMetricsOverride")


@pytest.fixture
def make() -> ModuleType:
    pytest.importorskip("torch")
    found = importlib.util.spec_from_file_location("make_slider", LESSONS / "slider" / "make.py")
    assert found
    assert found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.training
def test_the_script_makes_a_page_of_a_run(
    make: ModuleType, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlcycle

    run = mlcycle.train(finished_run, resume=True, quiet=True)
    monkeypatch.setattr(make, "train", lambda work: run)
    monkeypatch.setattr(make, "PAGE", tmp_path / "page.html")
    make.main(tmp_path)
    content = content_of(tmp_path / "page.html")
    assert [each["step"] for each in content["steps"]] == [0, 3, 6]
    assert content["best"] in (3, 6)
    assert content["crops"] == 6 * 4
