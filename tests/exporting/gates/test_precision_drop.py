"""The loss of average precision that a variant can have."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from mlcycle.errors import GateError
from mlcycle.evaluation.sizes import BY_HEIGHT
from mlcycle.exporting.gates import precision_drop
from mlcycle.exporting.gates.precision_drop import Labelled, keeps_precision

SMALLEST, *_, LARGEST = (size.name for size in BY_HEIGHT)


def metrics(ap50: float, faces: int = 4000, **by_size: tuple[float, int]) -> SimpleNamespace:
    """The result of an evaluation; other sizes have the same precision as all faces, and 1000 faces."""
    names = {"smallest": SMALLEST, "largest": LARGEST}
    parts = {size.name: SimpleNamespace(ap50=ap50, faces=1000) for size in BY_HEIGHT}
    parts |= {names[name]: SimpleNamespace(ap50=part[0], faces=part[1]) for name, part in by_size.items()}
    return SimpleNamespace(metrics=SimpleNamespace(coco=SimpleNamespace(ap50=ap50, faces=faces, by_size=parts)))


def gate(monkeypatch: pytest.MonkeyPatch, parent: SimpleNamespace, variant: SimpleNamespace) -> list[str]:
    """Returns the shown lines as one text, and the message if the gate fails."""
    both = {"parent": parent, "variant": variant}
    shown: list[str] = []

    def evaluate(model: Path, data: Path, options: precision_drop.evaluate.Options, started: object) -> SimpleNamespace:
        assert not options.official  # it needs scipy, which the extra "export" does not bring
        return both[model.name]

    monkeypatch.setattr(precision_drop.evaluate, "evaluate", evaluate)
    labelled = Labelled(Path("set"), "val", 0.5, shown.append, lambda count: lambda step: None)
    try:
        keeps_precision(Path("parent"), Path("variant"), labelled)
    except GateError as problem:
        return ["\n".join(shown), problem.message]
    assert len(shown) == 2 + len(BY_HEIGHT)
    assert not any("\n" in line for line in shown)  # the terminal would show it as two characters
    return ["\n".join(shown)]


def test_a_small_loss_and_any_gain_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(gate(monkeypatch, metrics(0.8), metrics(0.7951))) == 1
    assert len(gate(monkeypatch, metrics(0.8), metrics(0.9))) == 1


def test_a_large_loss_over_all_faces_fails_and_shows_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    table, message = gate(monkeypatch, metrics(0.8), metrics(0.794))
    assert "80.00" in table
    assert "79.40" in table
    assert "0.60 points of AP50 on all faces" in message


def test_a_large_loss_at_one_size_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    _, message = gate(monkeypatch, metrics(0.8, smallest=(0.5, 1000)), metrics(0.8, smallest=(0.49, 1000)))
    assert f"1.00 points of AP50 on faces {SMALLEST}" in message


def test_a_size_with_few_faces_does_not_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    (table,) = gate(monkeypatch, metrics(0.8, largest=(0.5, 20)), metrics(0.8, largest=(0.3, 20)))
    assert "too few" in table


def test_nan_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = metrics(float("nan"), faces=0)
    assert "no labelled faces" in gate(monkeypatch, nothing, nothing)[-1]
    assert "loses" in gate(monkeypatch, metrics(0.8), metrics(float("nan")))[-1]
