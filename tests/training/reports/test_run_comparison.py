"""`mlcycle train compare`: differences between runs, in a terminal of 80 columns, as JSON and as a page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")  # the train extra

from test_run_report import Page
from test_run_summary import score, stretch, write_run

from mlcycle.training.reports import comparison
from mlcycle.training.run import run_summary

pytestmark = pytest.mark.training


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Three runs with two learning rates; the last uses other data and has not finished."""
    made = []
    for name, rate, data in (("slow", 0.001, "aa"), ("fast-and-of-a-long-name", 0.002, "aa"), ("other", 0.002, "bb")):
        recipe = f"name: a\nschedule: {{steps: 40, learning_rate: {rate}}}\n"
        metrics = [stretch(20, 20, 1, 0.1, 30), score(20, rate * 100)]
        metrics += [] if name == "other" else [stretch(40, 40, 1, 0.1, 30), score(40, rate * 200)]
        made.append(write_run(tmp_path / name, metrics, recipe, device="cpu", data={"fingerprint": data * 32}))
    return made


def table(runs: list[Path], width: int = 80) -> str:
    return comparison.as_table(comparison.compare([run_summary.read(run) for run in runs]), width)


def cells(text: str, name: str) -> list[str]:
    return next(line.split()[len(name.split()) :] for line in text.splitlines() if line.startswith(name))


def test_only_the_keys_that_differ_are_shown(runs: list[Path]) -> None:
    text = table(runs)
    assert cells(text, "schedule.learning_rate") == ["0.001", "0.002", "0.002"]
    assert "schedule.steps" not in text
    assert "\nname" not in text
    assert cells(text, "AP50") == ["0.2000", "0.4000", "0.2000"]
    assert cells(text, "data") == ["aaaaaaaa", "aaaaaaaa", "bbbbbbbb"]
    assert "20 of 40" in text
    assert "The recipes are the same." in table([runs[1], runs[1]])


@pytest.mark.parametrize("number", [2, 3, 4, 5])
def test_table_fits_into_80_columns(runs: list[Path], number: int) -> None:
    text = table((runs * 2)[:number])
    assert max(map(len, text.splitlines())) <= 80
    # A run that is given twice is named by its path, which may wrap at any letter.
    assert "fast-and" in text or number > len(runs)


def test_control_characters_in_names_are_replaced(tmp_path: Path) -> None:
    evil = [write_run(tmp_path / name, [], f'name: "{name[0]}\\e[31m"\n') for name in ("a\x1b[31m", "b")]
    text = table(evil)
    assert "\x1b" not in text
    assert "a?[31m" in text


def test_compare_warns_of_other_data_only(mlcycle, runs: list[Path]) -> None:
    done = mlcycle("train", "compare", *runs)
    assert done.code == 0
    assert "do not use the same data" in done.err
    assert "slow" in done.out
    assert mlcycle("train", "compare", *runs[:2]).err == ""
    assert mlcycle("train", "compare", runs[0]).code == 2
    assert mlcycle("train", "compare", runs[0], runs[0].parent).code == 3


def test_json_has_full_precision(mlcycle, runs: list[Path]) -> None:
    document = json.loads(mlcycle("train", "compare", *runs, "--json").out)
    assert document["is_same_data"] is False
    assert document["recipe_differences"] == {"schedule.learning_rate": [0.001, 0.002, 0.002]}
    assert [run["is_finished"] for run in document["runs"]] == [True, True, False]
    assert [run["data_fingerprint"] for run in document["runs"]] == ["aa" * 32, "aa" * 32, "bb" * 32]
    assert document["runs"][0]["best_step"] == 40


def test_page_shows_all_curves_and_loads_nothing(mlcycle, runs: list[Path], tmp_path: Path) -> None:
    (runs[0] / "recipe.yaml").write_text("name: a\nschedule: {steps: 40, learning_rate: <script>}\n")
    target = tmp_path / "page.html"
    assert mlcycle("train", "compare", *runs, "--html", target).code == 0
    page = Page(target.read_text("utf-8"))
    assert not {tag for tag, _ in page.elements} & {"script", "link", "img"}
    assert "https:" not in page.text
    assert "do not use the same data" in page.text_content
    label = next(each["aria-label"] for each in page.all("svg") if "AP50" in str(each.get("aria-label")))
    assert label == "Validation AP50: slow ends at 0.2; fast-and-of-a-long-name ends at 0.4; other ends at 0.2"
    assert mlcycle("train", "compare", *runs, "--html", target).code == 3
    assert mlcycle("train", "compare", *runs, "--html", target, "--overwrite").code == 0


def test_runs_of_one_name_are_named_by_their_paths(tmp_path: Path) -> None:
    both = [write_run(tmp_path / each / "run", []) for each in ("a", "b")]
    assert comparison.compare([run_summary.read(run) for run in both]).names == tuple(map(str, both))
