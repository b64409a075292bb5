"""A sweep's table, CSV and page: means over seeds, best first, and failed runs."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

pytest.importorskip("torch")  # the train extra

from rich.console import Console
from test_run_report import Page
from test_run_summary import score, stretch, write_run

from mlcycle.training.studies import sweep_table
from mlcycle.training.studies.sweep_folder import Entry, Run, SweepFolder
from mlcycle.training.studies.sweep_page import mean_curve, render

pytestmark = pytest.mark.training

KEYS = ["schedule.learning_rate", "seed"]


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    """Two rates with two seeds each, the last of which failed, and a new run."""
    folder = SweepFolder(tmp_path / "sweep")
    for rate, seed, ap50, code in ((0.1, 1, 0.2, 0), (0.1, 2, 0.4, 0), (0.2, 1, 0.5, 0), (0.2, 2, 0.9, 1)):
        name = f"schedule.learning_rate={rate},seed={seed}"
        lines = [stretch(20, 20, 1, 0.1, 30) | {"loss": 3.0}, score(20, ap50 / 2)]
        lines += [stretch(40, 40, 1, 0.1, 30) | {"loss": 1.0 + seed}, score(40, ap50)] if code == 0 else []
        write_run(folder.run(name), lines, data={"fingerprint": "aa"})
        reason = "the loss is <not> finite" if code else ""
        folder.plan.runs[name] = Entry({"schedule.learning_rate": rate, "seed": seed}, code, reason, 90.0)
    folder.plan.runs["new"] = Entry({"schedule.learning_rate": 0.3, "seed": 1})
    return folder.runs()


def table(runs: list[Run]) -> list[list[str]]:
    console = Console(width=80, file=io.StringIO())
    console.print(sweep_table.as_table(runs, KEYS))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_best_mean_comes_first_and_only_finished_runs_count(runs: list[Run]) -> None:
    head, *lines = table(runs)
    assert head.split() == ["learning_rate", "seeds", "AP50", "AP", "step", "loss", "min"]
    assert lines[0].split() == ["0.2", "1", "of", "2", "0.500", "0.250", "40", "2.000", "3.0", "1", "failed"]
    # Of .2 and .4 the standard deviation is .141, and of half of these the half.
    assert lines[1].split() == ["0.1", "2", "0.300", "±.141", "0.150", "±.071", "40", "2.500", "3.0"]
    assert lines[2].split() == ["0.3", "0", "of", "1", "–", "–", "–", "–", "0.0", "new"]


def test_setting_without_a_finished_run_comes_last(runs: list[Run]) -> None:
    ordered = sweep_table.rows([runs[0], runs[3]])
    assert [row.values["schedule.learning_rate"] for row in ordered] == [0.1, 0.2]
    assert ordered[1].ap50.mean == 0.45
    assert ordered[1].state == "failed at step 20"


def test_keys_with_the_same_last_part_keep_their_sections() -> None:
    heads = sweep_table.columns(["losses.box", "model.box", "seed"], has_seeds=False, has_states=False)
    assert heads[:2] == ["losses.box", "model.box"]


def test_csv_has_a_line_for_each_run(runs: list[Run]) -> None:
    lines = list(csv.DictReader(io.StringIO(sweep_table.as_csv(runs, KEYS))))
    assert [line["state"] for line in lines] == ["finished", "failed", "finished", "finished", "new"]
    assert [line["average_precision_50"] for line in lines] == ["0.5", "0.45", "0.2", "0.4", ""]
    assert lines[1]["exit_code"] == "1"
    assert lines[1]["reason"] == "the loss is <not> finite"
    assert lines[2]["schedule.learning_rate"] == "0.1"


def test_curves_are_means_at_common_steps(runs: list[Run]) -> None:
    row = next(each for each in sweep_table.rows(runs) if each.finished == 2)
    assert mean_curve(row, "loss") == [(20, 3.0), (40, 2.5)]


def test_page_loads_nothing_and_describes_its_charts(runs: list[Run]) -> None:
    page = Page(render("a <b>", runs, KEYS))
    assert not {tag for tag, _ in page.elements} & {"script", "link", "img", "b>"}
    assert "https:" not in page.text
    labels = [str(each.get("aria-label")) for each in page.all("svg")]
    assert "Validation AP50 over schedule.learning_rate: all runs: 0.1 0.300, 0.2 0.500" in labels
    assert not [label for label in labels if "over seed" in label]
    assert any("Validation AP50: learning_rate 0.2 ends at 0.5" in label for label in labels)
    assert "the loss is <not> finite" in page.words
    assert "a bar is their mean ± their standard deviation" in page.text_content


def test_page_of_single_runs_says_that_differences_may_be_chance(runs: list[Run]) -> None:
    single = [each for each in runs if each.entry.values["seed"] == 1]
    for each in single:
        del each.entry.values["seed"]
    assert "a difference may be chance" in Page(render("single", single, KEYS[:1])).text_content
