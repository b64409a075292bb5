"""The report of a run: its contents, that it loads nothing, and that it never fails a run."""

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
from mlcycle.training.reports.report import ReportOptions, write_report
from mlcycle.training.run import run_summary

pytestmark = pytest.mark.training
pytest_plugins = ("small_run",)


class Page(HTMLParser):
    """A page's elements with their attributes, and its text; fails if an element is not closed."""

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
    def text_content(self) -> str:
        """Its text with single spaces."""
        return " ".join(self.words.split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of a finished run that a test may change."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


@pytest.fixture(scope="module")
def page(finished_run: Path) -> Page:
    """The report that `mlcycle train` writes."""
    return Page((finished_run / "report.html").read_text("utf-8"))


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_report_loads_nothing_runs_nothing_and_is_small(page: Page) -> None:
    assert not {tag for tag, _ in page.elements} & {"script", "link", "iframe", "object", "base", "form"}
    assert not re.search(r"https?:|url\(|@import|\bon\w+=", page.text)
    assert all(each["src"].startswith("data:image/jpeg;base64,") for each in page.all("img"))
    assert "prefers-color-scheme: dark" in page.text
    assert len(page.text) < 700_000


def test_report_has_all_sections(page: Page) -> None:
    sections = ["Curves", "Precision and recall", "Scores and thresholds", "By size of the face", "Speed", "Data"]
    sections += ["Environment", "Recipe"]
    found = re.findall(r"<h2>([^<]*)</h2>", page.text)
    assert [each for each in found if each in sections] == sections
    for words in ("Validation AP50", "Loss and its parts", "Learning rate", "Images per second", "waiting for data"):
        assert words in page.words
    assert "after 6 of 6 steps on cpu" in page.text_content
    assert "Expected calibration error" in page.words
    assert "schedule:\n  steps: 6" in page.words


def test_charts_and_images_have_text_alternatives(page: Page) -> None:
    drawings = [each for each in page.all("svg") if each.get("aria-hidden") != "true" and each.get("class") != "sample"]
    assert len(drawings) >= 9
    assert all(each["role"] == "img" and each["aria-label"] for each in drawings)
    assert all(each["alt"] for each in page.all("img"))
    scrolling = [each for each in page.all("div") if each.get("class") == "scroll"]
    assert scrolling
    assert all("tabindex" in each and each["role"] == "region" and each["aria-label"] for each in scrolling)


def test_score_is_that_of_the_best_checkpoint(page: Page, finished_run: Path) -> None:
    best = run_summary.read(finished_run).best
    assert best
    assert f"AP50 of {best.average_precision_50:.3f}, at step {best.step}" in page.text_content
    assert "On the 6 validation images, with 4 labelled faces" in page.text_content


def test_waiting_for_data_is_the_same_number_everywhere(run: Path) -> None:
    # Of 100 seconds the steps took 50, a tenth of them waiting; the rest were evaluations.
    measured = {"data_wait_share": 0.1, "seconds_per_step": 50 / 6, "images_per_second": 1.0, "seconds": 100.0}
    (run / "metrics.jsonl").write_text(f"{json.dumps({'step': 6, 'loss': 1.0} | measured)}\n")
    (run / "checkpoints" / "best.safetensors").unlink()  # the page has curves only, which is faster
    page = Page(write_report(run, ReportOptions()).path.read_text("utf-8"))
    assert "Waiting for data10.0%of the time of the steps" in page.text_content
    assert "10.0 % of the time of the steps waiting for data" in page.text_content
    assert "timeof all timeof the steps" in page.text_content
    assert "waiting for data5.0 s 5.0 %10.0 %" in page.text_content
    assert "evaluations and checkpoints50.0 s 50.0 %" in page.text_content


def test_worst_mistakes_are_crops_and_can_be_left_out(page: Page, run: Path) -> None:
    shown = [each["src"].partition(",")[2] for each in page.all("img")]
    assert shown
    assert all(Image.open(io.BytesIO(base64.b64decode(each))).size == (208, 208) for each in shown)
    assert f"holds {len(shown)} crops of the validation images" in page.text_content
    write_report(run, ReportOptions(images=False))
    without = Page((run / "report.html").read_text("utf-8"))
    assert without.all("img") == []
    assert "This page holds no images" in without.words


def test_names_are_escaped(run: Path) -> None:
    evil = Path(run.rename(run.with_name('<img src=x onerror="alert(1)">&amp;')))
    change(evil / "environment.json", device="<script>alert(2)</script>", git_commit='"><b>')
    recipe = evil / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("name: tiny", "name: tiny # </pre><script>alert(3)</script>"))
    page = Page(write_report(evil, ReportOptions()).path.read_text("utf-8"))
    assert page.all("script") == []
    assert all(each["src"].startswith("data:") for each in page.all("img"))
    assert '<img src=x onerror="alert(1)">&amp;' in page.words


def test_unfinished_run_has_a_report(run: Path) -> None:
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text(lines[0] + '{"step": 4, "loss": Na')  # a line that is still being written
    write_report(run, ReportOptions())
    page = Page((run / "report.html").read_text("utf-8"))
    assert "this page shows what it has reported so far" in page.text_content
    shutil.rmtree(run / "checkpoints")
    (run / "metrics.jsonl").unlink()
    (run / "environment.json").unlink()
    written = write_report(run, ReportOptions())
    assert written.missing_reason == "the run has not been evaluated yet"
    assert "Nothing has been reported yet" in Page(written.path.read_text("utf-8")).words


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (
            lambda run: change(run / "environment.json", data={"fingerprint": "other"}),
            "not those that the run was trained on",
        ),
        (lambda run: (run / "checkpoints" / "best.safetensors").write_bytes(b"none"), "cannot be read"),
        (lambda run: swap(run / "recipe.yaml", "split: val", "split: gone"), "gone"),
        (lambda run: swap(run / "recipe.yaml", "seed: 3", "sead: 3"), "unknown key 'sead'"),
    ],
)
def test_report_without_predictions_has_curves_and_the_reason(run: Path, damage, reason) -> None:
    damage(run)
    written = write_report(run, ReportOptions())
    assert reason in written.missing_reason
    page = Page(written.path.read_text("utf-8"))
    assert "Validation AP50" in page.words
    assert reason in page.words


def swap(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_interrupted_report_has_curves_and_a_hint(run: Path) -> None:
    (run / "report.html").unlink()
    predicted: list[int] = []
    with pytest.raises(Interrupted) as stop:
        write_report(
            run, ReportOptions(started=lambda images: predicted.append, stop=lambda: 15 if len(predicted) == 2 else 0)
        )
    assert stop.value.exit_code == 143
    assert f"mlcycle train report {run}" in stop.value.hint
    assert "predictions for this page were interrupted" in Page((run / "report.html").read_text("utf-8")).words


def test_interruption_keeps_an_existing_report(run: Path) -> None:
    before = (run / "report.html").read_text("utf-8")
    with pytest.raises(Interrupted):
        write_report(run, ReportOptions(stop=lambda: 2))
    assert (run / "report.html").read_text("utf-8") == before


def test_resumed_parts_show_changes_of_the_environment(run: Path) -> None:
    first = json.loads((run / "environment.json").read_text())
    other = first | {"step": 3, "device": "cuda (Some GPU)"}
    change(run / "environment.json", resumed=[first | {"step": 2}, other])
    page = Page(write_report(run, ReportOptions()).path.read_text("utf-8"))
    assert "Resumed at step 2 In the same environment." in page.text_content
    assert "Resumed at step 3, with another" in page.words
    assert "cuda (Some GPU)" in page.words
    assert "resumed at step 3" in page.words  # on the curves


def test_report_command_writes_a_new_file_only(mlcycle, run: Path, tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    done = mlcycle("train", "report", run, "--no-images", "--out", target)
    assert (done.code, done.out) == (0, f"{target}\n")
    assert "predicting on 6 validation images" in done.err
    assert mlcycle("train", "report", run, "--out", target).code == 3
    assert mlcycle("train", "report", run).out == f"{run / 'report.html'}\n"
    assert mlcycle("train", "report", tmp_path).code == 3
    (run / "checkpoints" / "best.safetensors").unlink()
    done = mlcycle("train", "report", run)
    assert (done.code, "has only curves: the run has not been evaluated yet" in done.err) == (0, True)


def test_unwritable_target_is_named(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"page\.html cannot be written: Not a directory"):
        write_report(run, ReportOptions(), tmp_path / "file" / "page.html")
