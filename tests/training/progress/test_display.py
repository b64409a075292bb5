"""The progress display: a panel that fits a terminal, with metrics of the whole run."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

pytest.importorskip("torch")

from mlcycle.training.progress.display import Display

pytestmark = pytest.mark.training

REPORTED = {
    "step": 20, "loss": 12.5, "score_loss": 11.149, "box_loss": 0.606, "landmark_loss": 0.012, "teacher_loss": 2.825,
    "images_per_second": 1234.5, "flops_per_second": 999.9e9, "seconds_per_step": 0.5, "data_wait_share": 0.123,
    "memory_bytes": 98765 * 2**20,
}  # fmt: skip
EVALUATED = {"step": 20, "average_precision": 0.1, "average_precision_50": 0.5}


def panel(display: Display) -> list[str]:
    """Returns the lines that a terminal of 80 columns would show."""
    console = Console(file=io.StringIO(), width=80)
    console.print(display)
    return console.file.getvalue().splitlines()


def test_the_panel_has_a_line_for_each_kind_of_metric_on_a_terminal_of_80_columns() -> None:
    display = Display(40, "a run", quiet=True)
    display.remember([REPORTED, REPORTED, EVALUATED, EVALUATED])
    assert [line.split()[0] for line in panel(display)] == ["training", "loss", "val", "parts", "rate"]


def test_the_best_score_is_that_of_the_whole_run_by_ap50() -> None:
    display = Display(40, "a resumed run", quiet=True)
    display.remember([EVALUATED])
    display.report(EVALUATED | {"average_precision": 0.2, "average_precision_50": 0.4})
    assert "AP50 0.400  AP 0.200" in panel(display)[1]
    assert panel(display)[1].rstrip().endswith("best 0.500")


def test_the_score_before_the_first_step_is_shown_but_is_not_the_best() -> None:
    display = Display(40, "a run from other weights", quiet=True)
    display.report(EVALUATED | {"step": 0, "average_precision_50": 0.7})
    assert "AP50 0.700" in panel(display)[1]
    assert "best" not in panel(display)[1]
    display.report(EVALUATED)
    assert panel(display)[1].rstrip().endswith("best 0.500")


def test_losses_that_a_network_does_not_have_are_not_shown() -> None:
    display = Display(40, "a run", quiet=True)
    display.report(REPORTED | {"landmark_loss": 0.0})
    assert "landmarks" not in "".join(panel(display))


def test_the_bar_counts_images_while_they_are_decoded_and_then_steps() -> None:
    display = Display(31500, "a run", quiet=True)
    display.decoded(12, 400)
    assert (panel(display)[0].split()[0], "12/400" in panel(display)[0]) == ("decoding", True)
    display.start_steps(5)
    assert (panel(display)[0].split()[0], "5/31500" in panel(display)[0]) == ("training", True)


def test_the_first_decoded_image_is_no_news_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(10, "a run", quiet=False)
    display.decoded(1, 3)
    assert capsys.readouterr().err == ""
    display.decoded(3, 3)
    assert capsys.readouterr().err == "decoded 3 of 3 images\n"
