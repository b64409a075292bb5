"""The pages of servers with a token, without capacity or with several models; the camera; the page of the endpoints."""

from __future__ import annotations

import io
import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest
from browser import CHROMIUM, DRIVER, Browser, browser
from live_server import LiveServer, serving
from PIL import Image

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Chromium and chromedriver"),
]
TOKEN = "0123456789abcdef0123"
READY = "document.body.dataset.state === 'ready'"
DONE = "document.querySelector('article.result') && !document.querySelector('article.waiting')"
CHOOSE_BASE = """
const model = document.querySelector("#model");
model.value = "base";
model.dispatchEvent(new Event("change"));
"""
COUNT_REQUESTS = """
window.flights = { now: 0, most: 0, all: 0 };
const send = window.fetch;
window.fetch = async (...request) => {
  if (!request[0].includes("camera.jpg")) return send(...request);
  flights.most = Math.max(flights.most, ++flights.now);
  flights.all++;
  try { return await send(...request); } finally { flights.now--; }
};
"""
# The best face's box, the size of the image that it is in, and where the moving image begins in the frame below it.
SHOWN_BY_CAMERA = """
const { x, y, width, height } = document.querySelector("#camera .box").getBBox();
const view = document.querySelector("#camera .faces").viewBox.baseVal;
const frame = document.querySelector("#camera canvas");
const row = frame.getContext("2d").getImageData(0, 400, frame.width, 1).data;
const isWall = (place) => [0, 1, 2].every((each) => Math.abs(row[4 * place + each] - 128) < 12);
let left = 0;
while (left < frame.width && isWall(left)) left++;
const box = [x, y, x + width, y + height];
return { box, size: [view.width, view.height], left, frame: [frame.width, frame.height] };
"""
PRESSED = "[...document.querySelectorAll(arguments[0])].find((each) => each.textContent.includes(arguments[1])).click()"
WORDS = "return [...document.querySelectorAll('article .words')].map((each) => each.innerText)"


@pytest.fixture(scope="module")
def camera_file(tmp_path_factory: pytest.TempPathFactory, astronaut: Path) -> Path:
    """A video for the browser's fake camera: a face that moves over a grey wall."""
    path, face = tmp_path_factory.mktemp("camera") / "camera.mjpeg", Image.open(astronaut)
    with path.open("wb") as file:
        for step in range(20):
            frame, data = Image.new("RGB", (1280, 720), "grey"), io.BytesIO()
            frame.paste(face, (200 + 8 * step, 100))
            frame.save(data, "JPEG", quality=90)
            file.write(data.getvalue())
    return path


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory, camera_file: Path) -> Iterator[Browser]:
    camera = ("--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={camera_file}")
    with browser(tmp_path_factory.mktemp("profile"), (*camera, "--use-fake-ui-for-media-stream")) as opened:
        yield opened


def entered(window: Browser, token: str) -> None:
    window.run("document.querySelector('#token').value = arguments[0]", token)
    window.run("document.querySelector('#token-form button').click()")


def test_a_server_with_a_token_asks_for_it(window: Browser, astronaut: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    with serving("--token-file", str(tmp_path / "token")) as server:
        window.open(server.url)
        window.wait_for("!document.querySelector('#token-form').hidden")
        assert window.run("return document.activeElement.id") == "token"
        window.drop([astronaut])
        entered(window, "not the token, but one as long")
        window.wait_for("document.querySelector('#token-problem').textContent")
        assert "does not take this token" in window.text()
        entered(window, TOKEN)
        window.wait_for(DONE)
        assert "That's a face." in window.run(WORDS)[0]
        assert "Bearer $TOKEN" in window.run("return document.querySelector('#curl').textContent")
        assert window.run("return [localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
        window.open(f"{server.url}/page/endpoints.html")
        window.wait_for("!document.querySelector('#token-form').hidden")
        entered(window, TOKEN)
        window.wait_for(READY)
        assert "POST /v1/detect" in window.text()


def test_a_token_that_no_longer_holds_is_asked_for_again(window: Browser, astronaut: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    with serving() as server:
        window.open(server.url)
        window.wait_for(READY)
        server.stop()
        window.drop([astronaut])
        window.wait_for(DONE)
        assert "The server did not answer." in window.run(WORDS)[0]
    with serving("--port", str(server.port), "--token-file", str(tmp_path / "token")):
        window.run("document.querySelector('article button').click()")
        window.wait_for("!document.querySelector('#token-form').hidden")
        assert "the request needs a token" in window.run(WORDS)[0].lower()
        entered(window, TOKEN)
        window.wait_for("document.querySelector('article').innerText.includes('a face')", 20)


@contextmanager
def occupied(server: LiveServer, image: bytes) -> Iterator[None]:
    """Sends an image again and again, from two clients."""
    is_over = Event()

    def send() -> None:
        while not is_over.is_set():
            server.request("POST", "/v1/detect", image)

    threads = [Thread(target=send), Thread(target=send)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def test_a_busy_server_says_when_to_try_again(window: Browser, astronaut: Path, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    Image.effect_noise((4000, 4000), 20).save(large, compress_level=1)
    data = large.read_bytes()
    with serving("--workers", "1", "--deadline", "0.2", "--max-body", "64") as server:
        assert server.request("POST", "/v1/detect", data).status == 200  # what the server expects of the next one
        window.open(server.url)
        window.wait_for(READY)
        with occupied(server, data):
            for _ in range(20):  # at first the server may have a moment without work
                window.drop([astronaut])
                window.wait_for(DONE)
                if "No answer." in (words := window.run(WORDS)[0]):
                    break
        assert re.search(r"The server has no capacity for this request now\. Try again in \d+ s\.", words)
        window.run("document.querySelector('article .problem button').click()")
        window.wait_for("document.querySelector('article').innerText.includes('a face')", 20)


def test_an_image_above_the_limit_is_not_sent(window: Browser, astronaut: Path, tmp_path: Path) -> None:
    large = tmp_path / "large.jpg"
    large.write_bytes(astronaut.read_bytes() + bytes(1 << 20))
    with serving("--max-body", "1") as server:
        window.open(server.url)
        window.wait_for(READY)
        window.requests()
        window.drop([large])
        window.wait_for(DONE)
        (words,) = window.run(WORDS)
        assert f"{large.stat().st_size:,} bytes; the server takes 1,048,576." in words
        assert [each["url"] for each in window.requests() if "/v1/" in each["url"]] == []


def test_one_of_several_models_can_be_chosen(window: Browser, astronaut: Path) -> None:
    with serving("nano=face-nano", "base=face-base") as server:
        window.open(server.url)
        window.wait_for(READY)
        window.drop([astronaut])
        window.wait_for(DONE)
        window.run(CHOOSE_BASE)
        expected = server.request("POST", "/v1/detect?model=base&name=astronaut.jpg", astronaut.read_bytes()).json()
        shown = "JSON.parse(document.querySelector('article details pre').textContent)"
        window.wait_for(f"document.querySelector('article details pre') && {shown}.model.name === 'face-base'", 20)
        record = window.run(f"return {shown}")
        assert (record["faces"], record["threshold"]) == (expected["faces"], expected["threshold"])
        assert "model=base" in window.run("return document.querySelector('#curl').textContent")


def test_the_camera_has_one_request_in_flight_and_its_boxes_fit(window: Browser, server: LiveServer) -> None:
    window.open(server.url)
    window.wait_for(READY)
    window.run(COUNT_REQUESTS)
    window.run("document.querySelector('#camera-start').click()")
    window.wait_for("flights.all > 10 && document.querySelector('#camera .box')", 30)
    window.run(PRESSED, "#camera button", "Keep this frame")
    shown = window.run(SHOWN_BY_CAMERA)
    assert (shown["size"], shown["frame"]) == ([640, 360], [1280, 720])
    # The face is at x 178-270, y 68-190 of an image that is 100 below the top, and frames are sent at half their size.
    expected = [(shown["left"] + 178) / 2, 168 / 2, (shown["left"] + 270) / 2, 290 / 2]
    assert shown["box"] == pytest.approx(expected, abs=12)
    window.wait_for(DONE)
    assert "1280 × 720" in window.run(WORDS)[0]
    assert "frames/s" in window.run("return document.querySelector('#camera').innerText")
    assert "encode" in window.run("return document.querySelector('#timing').innerText")
    window.run("document.querySelector('#camera-start').click()")
    window.wait_for("flights.now === 0")
    count = window.run("return flights.all")
    time.sleep(0.3)
    flights = window.run("return [flights.most, flights.all, document.querySelector('#camera').hidden]")
    assert flights == [1, count, True]


def test_without_a_camera_the_page_says_so(server: LiveServer, tmp_path: Path) -> None:
    with browser(tmp_path) as window:
        window.open(server.url)
        window.wait_for(READY)
        window.run("document.querySelector('#camera-start').click()")
        window.wait_for("document.querySelector('#camera .problem')", 20)
        assert "There is no camera." in window.run("return document.querySelector('#camera').innerText")


def test_the_examples_of_all_endpoints_run_here_and_in_a_terminal(
    window: Browser, server: LiveServer, astronaut: Path, tmp_path: Path
) -> None:
    for name in ("photo.jpg", "other.jpg"):
        (tmp_path / name).write_bytes(astronaut.read_bytes())
    window.open(f"{server.url}/page/endpoints.html")
    window.wait_for(READY)
    paths = server.request("GET", "/openapi.json").json()["paths"]
    titles = window.run("return [...document.querySelectorAll('.endpoint h2')].map((each) => each.textContent)")
    assert titles == [f"{method.upper()} {path}" for path, methods in paths.items() for method in methods]
    window.choose("#image", [astronaut])
    window.run("for (const each of document.querySelectorAll('.endpoint .command + .actions button')) each.click()")
    lines = window.run(
        "return [...document.querySelectorAll('.endpoint .command code')].map((each) => each.textContent)"
    )
    window.wait_for(f"document.querySelectorAll('.answer [data-status]').length === {len(lines)}", 30)
    statuses = window.run(
        "return [...document.querySelectorAll('.answer [data-status]')].map((each) => each.dataset.status)"
    )
    assert statuses == ["200"] * len(lines)
    assert len(lines) > len(titles)  # one endpoint takes two kinds of body
    for line in lines:
        done = subprocess.run(["sh", "-c", f"{line} -sS --fail"], cwd=tmp_path, capture_output=True, check=False)
        assert done.returncode == 0, (line, done.stderr)
        if "/v1/detect" in line:
            answer = json.loads(done.stdout)
            assert [len(each["faces"]) for each in answer.get("records", [answer])] in ([1], [1, 1])
    assert Image.open(tmp_path / "redacted.jpg").size == (512, 512)
    for place in ("Retry-After", "x1 y1 x2 y2 in pixels", "balanced, precise, sensitive"):
        assert place in window.run("return document.querySelector('#endpoints').textContent")
