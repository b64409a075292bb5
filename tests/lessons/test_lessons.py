"""Each lesson runs as on a learner's computer: from its source, in a fresh process, with real trainings.

What its texts say is then true of what it has measured.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import environment

pytest.importorskip("marimo")
pytest.importorskip("torch")
pytest.importorskip("skimage")

from browser import CHROMIUM, DRIVER, Browser, browser
from notebooks import LESSONS, questions

pytestmark = [
    pytest.mark.slow,
    pytest.mark.training,
    pytest.mark.skipif(not LESSONS, reason="not a checkout"),
]
RUNNER = Path(__file__).parent / "run_lesson.py"


@pytest.fixture(scope="module")
def work() -> Iterator[Path]:
    """The folder that the lessons of a learner share: the training of lesson 1 is used again by 2 and 3."""
    with tempfile.TemporaryDirectory(prefix="mlcycle-lessons-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def ran(work: Path) -> Callable[[int], dict[str, Any]]:
    """Runs a lesson in a process of its own, in an empty folder; returns its marks and values."""

    def run(number: int) -> dict[str, Any]:
        result = work / f"lesson-{number}.json"
        done = subprocess.run(
            [sys.executable, str(RUNNER), str(lesson(number)), str(result)],
            capture_output=True, text=True, check=False, cwd=work, env=environment({"MLCYCLE_LESSONS": str(work)}),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        found = json.loads(result.read_text("utf-8"))
        for question in questions(lesson(number)):
            for text, is_right in question.answers.items():
                verdict = found["marks"][question.name][text]
                assert ("Right." in verdict) is is_right
                assert ("Not quite." in verdict) is not is_right
        return found["values"]

    return run


def lesson(number: int) -> Path:
    [path] = [each for each in LESSONS if each.name.startswith(f"{number}_")]
    return path


def test_a_model_at_school(ran: Callable[[int], dict[str, Any]]) -> None:
    found_at = ran(1)["found_at"]
    assert 0 not in found_at
    assert 1000 in found_at


def test_graduation(ran: Callable[[int], dict[str, Any]], work: Path) -> None:
    values = ran(2)
    assert values["refused"] == ""  # the program written by hand agrees with training, as long as nothing is changed

    from classroom import pipelines, tampering

    model, run, photo = work / "lesson-1.onnx", work / "runs" / "lesson-1", work / "sideways.jpg"
    assert tampering.verdict(model) == ""
    size = model.stat().st_size
    for position in (0, size // 2, size - 65, size - 1):
        assert "damaged" in tampering.verdict(tampering.flip_bit(model, work / "bent.onnx", position))
    for factor, is_refused in ((1, False), (1.0001, False), (1.01, True), (-1, True)):
        forged = tampering.scale_weight(model, work / "forged.onnx", factor)
        assert ("self-test" in tampering.verdict(forged)) is is_refused
        assert (tampering.digest(forged) == tampering.digest(model)) is (factor == 1)
    for choices, stage in (
        (pipelines.Choices(colours="BGR"), "resize"),
        (pipelines.Choices(filter="nearest pixel"), "resize"),
        (pipelines.Choices(filter="triangle without antialiasing"), "resize"),
        (pipelines.Choices(turns_upright=False), "orientation"),
        (pipelines.Choices(scales_each_side=False), "selection"),
    ):
        assert f"'{stage}'" in pipelines.gate(run, photo, pipelines.run(model, photo, choices))


def test_it_was_never_shown_this(ran: Callable[[int], dict[str, Any]]) -> None:
    values = ran(3)
    own, other = values["own"], values["other"]
    assert own[-1] > own[0] + 0.05  # better on its own scenes …
    assert other[-1] < other[0] - 0.05  # … and worse on all others
    assert values["on_val"] > values["on_test"] + 0.04  # the leak
    missed, alarms = values["missed"], values["false_alarms"]
    assert missed["0.2"] < missed["0.5"] < missed["0.8"]
    assert alarms["0.2"] > alarms["0.5"] > alarms["0.8"]


def test_the_race_against_time(ran: Callable[[int], dict[str, Any]]) -> None:
    values = ran(4)
    assert values["p50"] <= values["p99"]
    assert values["large"]["decode"] > values["large"]["resize"] >= 0
    assert values["total"] > values["large"]["run"]


def test_what_it_costs_and_who_sees_the_input(ran: Callable[[int], dict[str, Any]], work: Path) -> None:
    values = ran(5)
    assert values["rate"] > 0
    assert values["capacity"] > 0
    assert values["record"]["input"] != "Grace Hopper at home.jpg"
    from PIL import Image

    with Image.open(work / "IMG_1906.jpg") as phone, Image.open(work / "IMG_1906_blur.jpg") as redacted:
        assert len(phone.getexif()) >= 3
        assert not redacted.getexif()


@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Chromium and chromedriver")
def test_answers_are_marked_in_a_browser(tmp_path: Path) -> None:
    """Lesson 1 before its training: what does not depend on it is there, and answers are marked when clicked."""
    from mlcycle.demo.scenes import build_scenes

    build_scenes(tmp_path / "work" / "scenes")  # what the page would begin with, for a minute or two
    with shown(lesson(1), tmp_path) as page:
        page.wait_for(shows("A face from the side"))
        choose(page, "A face in front of a brick wall")
        page.wait_for(shows("Not quite."))
        choose(page, "A face from the side")
        page.wait_for(shows("It has never seen one"))
        assert "Press the button to train." in page.text()
        assert not [each["url"] for each in page.requests() if "//127.0.0.1" not in each["url"]]


@contextmanager
def shown(path: Path, folder: Path) -> Iterator[Browser]:
    """Opens a lesson in a browser, with an empty folder for what it writes."""
    command = [sys.executable, "-m", "marimo", "--quiet", "run", str(path), "--headless", "--no-token"]
    port = free_port()
    env = environment({"MLCYCLE_LESSONS": str(folder / "work")})
    server = subprocess.Popen([*command, "--port", str(port)], cwd=folder, env=env, stdout=subprocess.DEVNULL)
    try:
        with browser(folder / "profile") as page:
            open_when_ready(page, f"http://127.0.0.1:{port}")
            yield page
    finally:
        server.terminate()
        server.wait()


def open_when_ready(page: Browser, url: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return page.open(url)
        except AssertionError:  # nothing listens there yet
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


ROOTS = """
const roots = [document];
for (const root of roots)
    for (const each of root.querySelectorAll('*')) if (each.shadowRoot) roots.push(each.shadowRoot);
"""  # marimo's widgets have shadow roots of their own


def shows(text: str) -> str:
    """Returns a JavaScript expression: whether a text is anywhere in the page."""
    has_it = f"root => root !== document && root.textContent.includes({json.dumps(text)})"
    return f"(() => {{ {ROOTS} return roots.some({has_it}); }})()"


def choose(page: Browser, text: str) -> None:
    """Clicks the radio button of an answer."""
    clicked = page.run(
        f"""
        {ROOTS}
        for (const root of roots)
            for (const label of root.querySelectorAll('label'))
                if (label.textContent.trim() === arguments[0]) {{ label.click(); return true; }}
        return false;
        """,
        text,
    )
    assert clicked, text


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
