"""The gate of freezing without a second process that imports torch, which takes longer than what the gate compares.

The slow tests, such as tests/library/test_training.py, freeze with a process of its own for each pipeline, as users do.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from mlcycle.training import trace
from mlcycle.workflows import parity


def trace_training_here(patch: pytest.MonkeyPatch) -> None:
    """Runs the training pipeline of the gate in this process; the inference pipeline keeps its own, without torch."""
    run = parity._run

    def run_here(module: str, model: Path, listing: Path, folder: Path) -> None:
        if module == parity.TRAINING_TRACE:
            trace.main(str(model), str(listing), str(folder))
        else:
            run(module, model, listing, folder)

    patch.setattr(parity, "_run", run_here)
