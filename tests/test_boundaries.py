"""Import contracts between packages, and that inference never imports torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import environment

CHECKOUT = Path(__file__).parent.parent


def test_import_contracts_hold():
    pytest.importorskip("importlinter")
    lint = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", lint, "--no-cache"],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        env=environment(),
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "module",
    ["mlcycle.inference.detect", "mlcycle.cli.app", "mlcycle.artifact.seal", "mlcycle.datasets.reading",
     "mlcycle.evaluation.coco", "mlcycle.workflows.evaluate", "mlcycle.benching.bench", "mlcycle.doctor.examine",
     "mlcycle.doctor.probe", "mlcycle.inspecting.card", "mlcycle.inspecting.selftest.probes", "mlcycle.planning.plan",
     "mlcycle.redacting.report"],
)  # fmt: skip
def test_inference_never_imports_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
