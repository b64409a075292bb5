"""The report of a run: what is on the page, that it needs nothing else, and that it never stands in a run's way."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytest.importorskip("torch")

from PIL import Image

from mlcycle.errors import InputError, Interrupted
from mlcycle.training.reports.report import Asked, write_report
from mlcycle.training.run import run_summary

pytestmark = pytest.mark.training
pytest_plugins = ("small_run",)


class Page(HTMLParser):
    """A page's elements with their attributes, and its words; fails where an element is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words = ""
        self.text = text
        self.feed(text)
        assert self.open == []

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attributes)
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, words: str) -> None:
        self.words += words

    @property
    def said(self) -> str:
        """Its words, with one space between two."""
        return " ".join(self.words.split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of a finished run, to be changed."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


@pytest.fixture(scope="module")
def page(finished_run: Path) -> Page:
    """As `mlcycle train` left it."""
    return Page((finished_run / "report.html").read_text("utf-8"))


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_it_loads_nothing_runs_nothing_and_is_small(page: Page) -> None:
    assert not {tag for tag, _ in page.elements} & {"script", "link", "iframe", "object", "base", "form"}
    assert not re.search(r"https?:|url\(|@import|\bon\w+=", page.text)
    assert all(each["src"].startswith("data:image/jpeg;base64,") for each in page.all("img"))
    assert "prefers-color-scheme: dark" in page.text
    assert len(page.text) < 700_000


def test_it_tells_what_the_issue_asks_of_a_run(page: Page) -> None:
    sections = ["Curves", "Precision and recall", "Scores and thresholds", "By size of the face", "Speed", "Data"]
    sections += ["Environment", "Recipe"]
    found = re.findall(r"<h2>([^<]*)</h2>", page.text)
    assert [each for each in found if each in sections] == sections
    for words in ("Held-out AP50", "Loss and its parts", "Learning rate", "Images a second", "waiting for data"):
        assert words in page.words
    assert "after 6 of 6 steps on cpu" in page.said
    assert "Expected calibration error" in page.words
    assert "schedule:\n  steps: 6" in page.words


def test_drawings_have_names_and_images_have_words(page: Page) -> None:
    drawings = [each for each in page.all("svg") if each.get("aria-hidden") != "true" and each.get("class") != "sample"]
    assert len(drawings) >= 9
    assert all(each["role"] == "img" and each["aria-label"] for each in drawings)
    assert all(each["alt"] for each in page.all("img"))
    scrolling = [each for each in page.all("div") if each.get("class") == "scroll"]
    assert scrolling
    assert all("tabindex" in each and each["role"] == "region" and each["aria-label"] for each in scrolling)


def test_the_score_is_that_of_the_run_and_of_its_best_checkpoint(page: Page, finished_run: Path) -> None:
    best = run_summary.read(finished_run).best
    assert best
    assert f"AP50 of {best.average_precision_50:.3f}, at step {best.step}" in page.said
    assert "On the 6 held-out images, with 4 labelled faces" in page.said


def test_the_worst_mistakes_are_images_and_can_be_left_out(page: Page, run: Path) -> None:
    shown = [each["src"].partition(",")[2] for each in page.all("img")]
    assert shown
    assert all(Image.open(io.BytesIO(base64.b64decode(each))).size == (208, 208) for each in shown)
    assert f"holds {len(shown)} cut-outs of the held-out images" in page.said
    write_report(run, Asked(images=False))
    without = Page((run / "report.html").read_text("utf-8"))
    assert without.all("img") == []
    assert "This page holds no images" in without.words


def test_names_are_written_as_text(run: Path) -> None:
    evil = Path(run.rename(run.with_name('<img src=x onerror="alert(1)">&amp;')))
    change(evil / "environment.json", device="<script>alert(2)</script>", git_commit='"><b>')
    recipe = evil / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("name: tiny", "name: tiny # </pre><script>alert(3)</script>"))
    page = Page(write_report(evil, Asked()).path.read_text("utf-8"))
    assert page.all("script") == []
    assert all(each["src"].startswith("data:") for each in page.all("img"))
    assert '<img src=x onerror="alert(1)">&amp;' in page.words


def test_a_run_that_goes_on_or_was_broken_off_has_a_report_too(run: Path) -> None:
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text(lines[0] + '{"step": 4, "loss": Na')  # being written just now
    write_report(run, Asked())
    page = Page((run / "report.html").read_text("utf-8"))
    assert "this is what there is so far" in page.said
    shutil.rmtree(run / "checkpoints")
    (run / "metrics.jsonl").unlink()
    (run / "environment.json").unlink()
    written = write_report(run, Asked())
    assert written.why_not == "the run has not been evaluated yet"
    assert "Nothing has been reported yet" in Page(written.path.read_text("utf-8")).words


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (
            lambda run: change(run / "environment.json", data={"fingerprint": "other"}),
            "not what the run was trained on",
        ),
        (lambda run: (run / "checkpoints" / "best.safetensors").write_bytes(b"none"), "cannot be read"),
        (lambda run: swap(run / "recipe.yaml", "split: val", "split: gone"), "gone"),
        (lambda run: swap(run / "recipe.yaml", "seed: 3", "sead: 3"), "unknown key 'sead'"),
    ],
)
def test_where_the_images_cannot_be_asked_the_curves_are_there_and_the_reason(run: Path, spoil, reason) -> None:
    spoil(run)
    written = write_report(run, Asked())
    assert reason in written.why_not
    page = Page(written.path.read_text("utf-8"))
    assert "Held-out AP50" in page.words
    assert reason in page.words


def swap(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_stop_leaves_the_curves_and_says_how_to_go_on(run: Path) -> None:
    (run / "report.html").unlink()
    looked: list[int] = []
    with pytest.raises(Interrupted) as stop:
        write_report(run, Asked(started=lambda images: looked.append, stop=lambda: 15 if len(looked) == 2 else 0))
    assert stop.value.exit_code == 143
    assert f"mlcycle train report {run}" in stop.value.hint
    assert "were not looked at" in Page((run / "report.html").read_text("utf-8")).words


def test_a_stop_leaves_a_report_that_is_there_as_it_is(run: Path) -> None:
    before = (run / "report.html").read_text("utf-8")
    with pytest.raises(Interrupted):
        write_report(run, Asked(stop=lambda: 2))
    assert (run / "report.html").read_text("utf-8") == before


def test_parts_that_were_resumed_are_told_with_what_changed(run: Path) -> None:
    first = json.loads((run / "environment.json").read_text())
    other = first | {"step": 3, "device": "cuda (Some GPU)"}
    change(run / "environment.json", resumed=[first | {"step": 2}, other])
    page = Page(write_report(run, Asked()).path.read_text("utf-8"))
    assert "Resumed at step 2In the same environment." in page.words
    assert "Resumed at step 3, with another" in page.words
    assert "cuda (Some GPU)" in page.words
    assert "resumed at step 3" in page.words  # on the curves


def test_the_command_writes_it_anywhere_and_over_nothing(mlcycle, run: Path, tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    done = mlcycle("train", "report", run, "--no-images", "--out", target)
    assert (done.code, done.out) == (0, f"{target}\n")
    assert "looking at 6 held-out images" in done.err
    assert mlcycle("train", "report", run, "--out", target).code == 3
    assert mlcycle("train", "report", run).out == f"{run / 'report.html'}\n"
    assert mlcycle("train", "report", tmp_path).code == 3
    (run / "checkpoints" / "best.safetensors").unlink()
    done = mlcycle("train", "report", run)
    assert (done.code, "holds nothing but curves: the run has not been evaluated yet" in done.err) == (0, True)


def test_a_place_that_cannot_be_written_is_named(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"page\.html cannot be written: Not a directory"):
        write_report(run, Asked(), tmp_path / "file" / "page.html")
