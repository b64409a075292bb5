"""What needs an NVIDIA GPU, for `make test-gpu`. On another machine it is skipped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import onnxruntime  # noqa: E402
from conftest import environment  # noqa: E402
from PIL import Image  # noqa: E402

from mlcycle.artifact.bundled import locate  # noqa: E402
from mlcycle.inference.detect import load_detector  # noqa: E402
from mlcycle.inference.session import PROVIDERS  # noqa: E402

pytest_plugins = ("small_run",)
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.training,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no NVIDIA GPU"),
]

FLOAT32 = ("schedule.precision=float32", "augment.large=0.3")
LONG = ("schedule.steps=60", "schedule.evaluate_every=30", "schedule.checkpoint_every=10")


def train(*words: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "mlcycle", "train", *map(str, words)]
    return subprocess.run(line, env=environment(), capture_output=True, text=True, check=False, timeout=600)


def entries(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def losses(run: Path) -> list[float]:
    return [entry["loss"] for entry in entries(run) if "loss" in entry]


@pytest.fixture(scope="module")
def on_gpu(recipe_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of sixty steps in the default precision, bfloat16."""
    run = tmp_path_factory.mktemp("runs") / "gpu"
    done = train(recipe_path, *LONG, "--device", "cuda", "--out", run)
    assert done.returncode == 0, done.stderr
    return run


def test_float32_trains_like_the_cpu(recipe_path: Path, tmp_path: Path) -> None:
    runs = {device: tmp_path / device for device in ("cpu", "cuda")}
    for device, run in runs.items():
        done = train(recipe_path, *FLOAT32, "--device", device, "--out", run)
        assert done.returncode == 0, done.stderr
    assert losses(runs["cuda"]) == pytest.approx(losses(runs["cpu"]), rel=0.02)
    assert json.loads((runs["cuda"] / "environment.json").read_text())["device"].startswith("cuda")


def test_bfloat16_trains_and_its_run_is_frozen(on_gpu: Path, tmp_path: Path, mlcycle: Callable) -> None:
    assert np.isfinite(losses(on_gpu)).all()
    assert (on_gpu / "report.html").is_file()
    frozen = mlcycle("freeze", on_gpu, "-o", tmp_path / "face.onnx")
    assert frozen.code == 0, frozen.err


def test_an_interrupted_run_is_resumed(recipe_path: Path, on_gpu: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = [recipe_path, *LONG, "--device", "cuda", "--out", run]
    line = [sys.executable, "-m", "mlcycle", "train", *map(str, words)]
    process = subprocess.Popen(line, env=environment(), stderr=subprocess.PIPE, text=True)
    for _ in range(1200):
        if process.poll() is not None or any(run.glob("checkpoints/step-*.safetensors")):
            break
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGTERM)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 143, stderr
    done = train("--resume", run, "--device", "cuda")
    assert done.returncode == 0, done.stderr
    assert [entry["step"] for entry in entries(run)] == [entry["step"] for entry in entries(on_gpu)]
    assert losses(run) == pytest.approx(losses(on_gpu), rel=0.1)


def test_all_gpus_train_one_network_over_nccl(recipe_path: Path, tmp_path: Path) -> None:
    devices, run = min(2, torch.cuda.device_count()), tmp_path / "run"
    done = train(recipe_path, *FLOAT32, "schedule.batch=8", "--device", "cuda", "--devices", devices, "--out", run)
    assert done.returncode == 0, done.stderr
    alone = tmp_path / "alone"
    assert train(recipe_path, *FLOAT32, "schedule.batch=8", "--device", "cuda", "--out", alone).returncode == 0
    assert losses(run) == pytest.approx(losses(alone), rel=0.05)


def test_a_step_too_large_for_the_gpu_is_made_in_parts(recipe_path: Path) -> None:
    program = """
import sys
from pathlib import Path
import torch
from mlcycle.training import memory
from mlcycle.training.distributed.process_group import ProcessGroup
from mlcycle.training.recipes.recipe_file import load
total = torch.cuda.get_device_properties(0).total_memory
torch.cuda.set_per_process_memory_fraction(400 * 2**20 / total)
recipe = load(Path(sys.argv[1]), ["schedule.batch=256", "augment.crop=320", "schedule.precision=float32"])
print(memory.find_accumulation(recipe, torch.device("cuda", 0), ProcessGroup(), 1))
"""
    words = [sys.executable, "-c", program, str(recipe_path)]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 1


def test_a_profile_shows_the_kernels_of_the_gpu(recipe_path: Path, tmp_path: Path, mlcycle: Callable) -> None:
    trace = tmp_path / "trace.json"
    done = mlcycle("train", "profile", recipe_path, "--device", "cuda", "--steps", 4, "--trace", trace)
    assert done.code == 0, done.err
    assert any(event.get("cat") == "kernel" for event in json.loads(trace.read_text())["traceEvents"])


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
@pytest.mark.parametrize("model", ["face-nano", "face-base"])
def test_a_provider_finds_the_faces_of_the_cpu(
    provider: str, model: str, astronaut: Path, tmp_path: Path, mlcycle: Callable
) -> None:
    if PROVIDERS[provider] not in onnxruntime.get_available_providers():
        pytest.skip(f"this onnxruntime has no {provider}: pip install onnxruntime-gpu in place of onnxruntime")
    assert mlcycle("model", "selftest", model, "--provider", provider).code == 0
    here, there = (load_detector(locate(model), provider=each) for each in ("cpu", provider))
    one, other = (each.detect_file(astronaut, long_sides=(640, 0)) for each in (here, there))
    np.testing.assert_allclose(other.boxes_N4, one.boxes_N4, atol=2)
    np.testing.assert_allclose(other.scores_N, one.scores_N, atol=0.05)
    black = tmp_path / "black.png"
    Image.new("RGB", (320, 240)).save(black)
    assert len(there.detect_file(black).boxes_N4) == 0
    report = tmp_path / "bench.json"
    words = ("bench", model, "--provider", provider, "--duration", "2", "--warmup", "1", "--json", "--out", report)
    assert mlcycle(*words).code == 0
    assert json.loads(report.read_text())["settings"]["provider"] == provider
