"""Training on a device other than the CPU gives the same result, and no step mixes tensors of both."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from conftest import environment  # noqa: E402

from mlcycle.training.distributed.device import one_thread  # noqa: E402
from mlcycle.training.fit import fit  # noqa: E402
from mlcycle.training.recipes.recipe_file import load  # noqa: E402
from mlcycle.training.run import checkpoint  # noqa: E402

pytestmark = pytest.mark.training
pytest_plugins = ("small_run",)

SCRIPT = Path(__file__).parents[1] / "stand_in_device.py"
CHANGES = ("schedule.precision=float32", "schedule.workers=0", "augment.large=0.3", "schedule.optimizer=muon")


@pytest.mark.slow
def test_another_device_trains_like_the_cpu(
    recipe_path: Path, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught = tmp_path / "taught.yaml"
    taught.write_text(recipe_path.read_text() + f"teacher: {{weights: {finished_run.as_posix()}}}\n")
    here, there = tmp_path / "here", tmp_path / "there"
    line = [sys.executable, str(SCRIPT), str(taught), str(there), *CHANGES]
    alone = environment() | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, env=alone, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    # The numbers of cells assigned to a face, of the teacher's face cells, and whether the loss is finite.
    assert done.stdout.split() == ["aten::nonzero", "aten::nonzero", "aten::_local_scalar_dense"]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with one_thread():
        fit(load(taught, CHANGES), here, device="cpu", quiet=True)
    saved = [checkpoint.load(run / "checkpoints" / "step-00000006.safetensors") for run in (here, there)]
    assert saved[1][1].evaluated_step == saved[0][1].evaluated_step == 6
    noted = json.loads((there / "environment.json").read_text())
    assert (noted["device"], [each["step"] for each in noted["resumed"]]) == ("standin", [4])
    for name, value in saved[0][0].items():
        assert torch.equal(saved[1][0][name], value), name
