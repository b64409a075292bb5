"""The page at / in a real browser: what it draws is what the server answered, and it talks to nobody else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from browser import CHROMIUM, DRIVER, Browser, Site, browser
from live_server import LiveServer
from PIL import Image

import mlcycle


def in_a_browser(test: Callable[..., None]) -> Callable[..., None]:
    """Marks a test that needs a browser, and some seconds."""
    return pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Chromium and chromedriver")(
        pytest.mark.slow(test)
    )


with_curl = pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
DONE = "document.querySelector('article.result') && !document.querySelector('article.waiting')"
PAGES = ("/", "/page/endpoints.html")
# Places in CSS pixels: of the picture, and of what is drawn around faces.
PLACES = """
const place = (each) => { const { x, y, width, height } = each.getBoundingClientRect(); return [x, y, width, height]; };
const frame = document.querySelector(arguments[0]);
const drawn = [...frame.querySelectorAll(".box")].map((box) => {
  const { x, y, width, height } = box.getBBox();
  const [left, top] = place(box);
  const points = [...box.parentNode.querySelectorAll("circle")].map(
    (dot) => ['cx', 'cy'].map((each) => Number(dot.getAttribute(each))),
  );
  const score = box.parentNode.querySelector("text")?.textContent;
  return { box: [x, y, x + width, y + height], points, score, at: place(box) };
});
return { picture: place(frame.querySelector("img, canvas")), drawn };
"""
PRESSED = "[...document.querySelectorAll(arguments[0])].find((each) => each.textContent.includes(arguments[1])).click()"
ATTEMPTS = """
const refused = [];
document.addEventListener("securitypolicyviolation", (each) => refused.push(each.effectiveDirective));
await fetch(arguments[0]).catch(() => {});
document.body.append(Object.assign(new Image(), { src: arguments[0] }));
const script = document.createElement("script");
try { script.text = "document.body.dataset.state = 'taken'"; document.body.append(script); } catch {}
await new Promise((go) => setTimeout(go, 50));
return [refused, document.body.dataset.state];
"""
STAGES = """
const parts = [...document.querySelectorAll("article .bar i")];
return parts.map((part) => [part.className, Number(part.style.flexGrow), part.getBoundingClientRect().width]);
"""


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def page(window: Browser, server: LiveServer) -> Browser:
    return opened(window, server)


def opened(window: Browser, server: LiveServer, path: str = "/") -> Browser:
    window.requests()
    window.open(server.url + path)
    window.wait_for("document.body.dataset.state === 'ready'", 20)
    return window


def dropped(page: Browser, *files: Path) -> list[str]:
    """Drops files, waits for their results and returns the words of each, in the order of the files."""
    page.drop(files)
    page.wait_for(DONE, 30)
    words = page.run("return [...document.querySelectorAll('article .words')].map((each) => each.innerText)")
    return words[::-1][-len(files) :]


def answered(server: LiveServer, image: bytes, query: str) -> dict[str, Any]:
    record = server.request("POST", f"/v1/detect?{query}", image).json()
    del record["milliseconds"]
    return record


def record_on(page: Browser) -> dict[str, Any]:
    record = json.loads(page.run("return document.querySelector('article details pre').textContent"))
    del record["milliseconds"]
    return record


def test_nothing_on_the_pages_comes_from_elsewhere_or_stands_inline(server: LiveServer) -> None:
    files = [each for each in resources.files("mlcycle.serving.web_page").iterdir() if not each.name.endswith(".py")]
    names = [each.name for each in files if "." in each.name]
    assert {"index.html", "page.js", "style.css", "icon.svg"} <= set(names)
    for path in ("/", *(f"/page/{name}" for name in names)):
        reply = server.request("GET", path)
        text = reply.body.decode().replace("http://www.w3.org/2000/svg", "")
        assert reply.status == 200
        policy = reply.headers["content-security-policy"]
        assert {"default-src 'none'", "script-src 'self'", "style-src 'self'"} <= set(policy.split("; "))
        assert "unsafe" not in policy
        assert "//" not in re.sub(r"^\s*//.*|\s// .*|https?://localhost\b", "", text, flags=re.MULTILINE), path
        if path == "/" or path.endswith(".html"):
            assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text), path


@in_a_browser
def test_a_dropped_image_shows_what_the_server_answers(page: Browser, server: LiveServer, astronaut: Path) -> None:
    (words,) = dropped(page, astronaut)
    assert "That's a face." in words
    assert "astronaut.jpg · 512 × 512" in words
    expected = answered(server, astronaut.read_bytes(), "at=balanced&name=astronaut.jpg")
    assert record_on(page) == expected
    shown = page.run(PLACES, "article .frame")
    (drawn,), (face,) = shown["drawn"], expected["faces"]
    assert drawn["box"] == pytest.approx(face["box"], abs=0.01)
    assert drawn["points"] == [pytest.approx(point, abs=0.01) for point in face["landmarks"].values()]
    assert drawn["score"] == f"{face['score']:.2f}"
    x, y, width, height = shown["picture"]
    x1, y1, x2, y2 = face["box"]
    scale = width / 512
    assert height == pytest.approx(width, abs=1)
    # The line around the box is 2.5 pixels wide, half of it outside.
    place = [x + x1 * scale, y + y1 * scale, (x2 - x1) * scale, (y2 - y1) * scale]
    assert drawn["at"] == pytest.approx(place, abs=3)


@in_a_browser
@pytest.mark.parametrize("point", ["sensitive", "precise"])
def test_an_operating_point_shows_what_the_server_answers_there(
    page: Browser, server: LiveServer, astronaut: Path, point: str
) -> None:
    dropped(page, astronaut)
    page.run(PRESSED, "#points label", point)
    assert record_on(page) == answered(server, astronaut.read_bytes(), f"at={point}&name=astronaut.jpg")
    line = page.run("return document.querySelector('#curl code').textContent")
    assert line == f"curl --data-binary @astronaut.jpg '{server.url}/v1/detect?at={point}'"


@in_a_browser
@with_curl
def test_the_line_of_curl_gives_the_record_on_the_page(page: Browser, astronaut: Path, tmp_path: Path) -> None:
    name = "it's a $HOME; photo.jpg"
    (tmp_path / name).write_bytes(astronaut.read_bytes())
    dropped(page, tmp_path / name)
    page.run(
        "const least = document.querySelector('#least'); least.value = 0.5; least.dispatchEvent(new Event('input'))"
    )
    detect, redact = page.run("return [...document.querySelectorAll('#curl code')].map((each) => each.textContent)")
    out = subprocess.run(
        ["sh", "-c", f"{detect} -sS --fail && {redact} -sS --fail"], cwd=tmp_path, capture_output=True, check=True
    ).stdout
    shown, given = record_on(page), json.loads(out)
    assert "threshold=0.5" in detect
    assert (given["faces"], given["threshold"], shown["input"]) == (shown["faces"], shown["threshold"], name)
    assert Image.open(tmp_path / "redacted.jpg").size == (512, 512)


@in_a_browser
def test_the_bar_shows_where_all_milliseconds_went(page: Browser, astronaut: Path) -> None:
    (words,) = dropped(page, astronaut)
    parts = page.run(STAGES)
    stages = {stage: value for stage, value, _ in parts}
    assert {"network", "queue", "decode", "resize", "model", "select"} <= set(stages)
    record = json.loads(page.run("return document.querySelector('article details pre').textContent"))
    for stage, reported in {"resize": "resize", "model": "run", "select": "select"}.items():
        assert stages[stage] == pytest.approx(record["milliseconds"][reported], abs=0.002)
    total = float(re.search(r"([\d.]+) ms: network", words)[1])
    assert sum(stages.values()) == pytest.approx(total, abs=0.6)  # from 100 on it is shown without decimals
    whole = sum(width for *_, width in parts)
    assert [width / whole for *_, width in parts] == pytest.approx([each / total for each in stages.values()], abs=0.02)


@in_a_browser
def test_quantiles_are_those_of_the_requests(page: Browser, astronaut: Path) -> None:
    totals = []
    for _ in range(5):
        (words,) = dropped(page, astronaut)
        totals.append(float(re.search(r"([\d.]+) ms: network", words)[1]))
    page.wait_for("document.querySelector('#timing').innerText.includes('The last 5 requests')", 5)
    last, p50, p99 = page.run(
        "return [...document.querySelectorAll('#timing tfoot td')].map((each) => Number(each.textContent))"
    )
    assert (last, p50, p99) == (totals[-1], sorted(totals)[2], max(totals))
    page.run("document.querySelector('#timing button').click()")
    assert "Nothing measured yet" in page.text()


@in_a_browser
def test_what_cannot_be_answered_says_why_and_the_others_are_answered(
    page: Browser, astronaut: Path, tmp_path: Path
) -> None:
    folder, other, half = tmp_path / "folder", tmp_path / "letter.pdf", tmp_path / "half.jpg"
    folder.mkdir()
    other.write_bytes(b"%PDF-1.4")
    half.write_bytes(astronaut.read_bytes()[:40_000])
    words = dropped(page, other, folder, half, astronaut)
    assert "Unreadable." in words[0] and "It is not an image of a known format." in words[0]  # noqa: PT018
    assert "choose the images in a folder" in words[1].lower()
    assert "The file ends before the image does." in words[2]
    assert "That's a face." in words[3]
    assert page.run("return document.querySelector('#status').textContent") == "astronaut.jpg: That's a face."
    page.run("document.querySelector('#remove').click()")
    assert page.run("return document.querySelectorAll('article').length") == 0


@in_a_browser
def test_a_format_that_the_browser_does_not_show_goes_to_the_server_as_it_is(
    page: Browser, server: LiveServer, astronaut: Path, tmp_path: Path
) -> None:
    scan = tmp_path / "scan.tif"
    Image.open(astronaut).save(scan)
    (words,) = dropped(page, scan)
    assert "That's a face." in words
    assert "cannot show the format" in words
    assert record_on(page) == answered(server, scan.read_bytes(), "at=balanced&name=scan.tif")
    width, height = page.run(
        "const { width, height } = document.querySelector('.faces').getBoundingClientRect(); return [width, height]"
    )
    assert width == pytest.approx(height)


@in_a_browser
def test_a_turned_image_and_the_first_frame_of_an_animation_fit_their_boxes(
    page: Browser, astronaut: Path, tmp_path: Path
) -> None:
    image = Image.open(astronaut).crop((0, 0, 512, 400))
    exif = Image.Exif()
    exif[274] = 6
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", exif=exif)
    others = [Image.new("RGB", image.size, colour) for colour in ("black", "blue")]
    image.save(tmp_path / "moving.gif", save_all=True, append_images=others, duration=20)
    turned, moving = dropped(page, tmp_path / "turned.jpg", tmp_path / "moving.gif")
    assert "That's a face." in turned and "First of 3 frames" in moving  # noqa: PT018
    for number in (1, 2):
        shown = page.run(PLACES, f"article:nth-child({number}) .frame")
        assert shown["picture"][2] / shown["picture"][3] == pytest.approx(512 / 400, abs=0.01)
        assert shown["drawn"][0]["box"] == pytest.approx([179, 60, 267, 182], abs=30)
    red = page.run(
        "return document.querySelector('article canvas').getContext('2d').getImageData(10, 200, 1, 1).data[0]"
    )
    assert red == pytest.approx(image.getpixel((10, 200))[0], abs=40)


@in_a_browser
def test_an_image_is_redacted_and_saved(page: Browser, server: LiveServer, astronaut: Path, tmp_path: Path) -> None:
    dropped(page, astronaut)
    page.save_to(tmp_path)
    page.run("document.querySelector('#method').value = 'fill'")
    page.run(PRESSED, "article button", "Redact")
    page.wait_for("document.querySelector('.is-redacted .redacted')?.complete", 20)
    page.run(PRESSED, "article button", "Save redacted image")
    saved = tmp_path / "astronaut-redacted.jpg"
    deadline = time.monotonic() + 20
    while not saved.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert saved.read_bytes() == server.request("POST", "/v1/redact?method=fill", astronaut.read_bytes()).body
    assert not mlcycle.load()(saved)


@in_a_browser
def test_the_page_talks_to_its_server_alone_and_could_to_no_other(
    page: Browser, server: LiveServer, astronaut: Path, tmp_path: Path
) -> None:
    dropped(page, astronaut)
    urls = [each["url"] for each in page.requests()]
    assert len(urls) > 10
    assert [url for url in urls if not url.startswith(f"{server.url}/")] == []
    elsewhere = Site(tmp_path)
    try:
        refused, state = page.run(ATTEMPTS, elsewhere.url)
    finally:
        elsewhere.stop()
    assert set(refused) >= {"connect-src", "img-src", "require-trusted-types-for"}
    assert (state, elsewhere.request_lines) == ("ready", [])


@in_a_browser
@pytest.mark.parametrize("path", PAGES)
def test_a_page_fits_a_phone_and_names_all_its_controls(
    window: Browser, server: LiveServer, astronaut: Path, path: str
) -> None:
    window.command("Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=2, mobile=True)
    try:
        page = opened(window, server, path)
        if path == "/":
            dropped(page, astronaut)
        assert page.run("return document.documentElement.scrollWidth") <= 360
        nodes = page.command("Accessibility.getFullAXTree")["nodes"]
    finally:
        window.command("Emulation.clearDeviceMetricsOverride")
    controls = [
        node
        for node in nodes
        if {"name": "focusable", "value": {"type": "booleanOrUndefined", "value": True}} in node.get("properties", [])
    ]
    roles = {node["role"]["value"] for node in controls}
    assert {"button", "link"} <= roles
    document = ("RootWebArea", "generic")
    unnamed = [node["role"] for node in controls if node["role"]["value"] not in document and not node["name"]["value"]]
    assert unnamed == []


@in_a_browser
def test_the_page_works_by_the_keyboard(page: Browser, astronaut: Path) -> None:
    dropped(page, astronaut)
    reached = []
    for _ in range(14):
        for kind in ("rawKeyDown", "keyUp"):
            page.command("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
        reached.append(page.run("const it = document.activeElement; return it.id || it.textContent || it.value"))
    expected = ["choose", "camera-start", "remove", "least", "method", "Redact", "Save JSON", "Faces as JSON"]
    assert [each for each in reached if each in expected] == expected
