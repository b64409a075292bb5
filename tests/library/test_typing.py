"""A small program that uses the library passes `mypy --strict`, and what it gets wrong is found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import environment

import mlcycle

PROGRAM = """
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

import mlcycle


def widest(model: mlcycle.Model, image: Path) -> float:
    faces = model(image, threshold=0.4)
    boxes: npt.NDArray[np.float32] = faces.boxes
    return max((float(box[2] - box[0]) for box in boxes), default=0.0)


def failures(model: mlcycle.Model, images: Iterable[Path]) -> dict[str, str]:
    results = model.stream(images, workers=2)
    return {faces.input: faces.error.message for faces in results if faces.error is not None}


def best(faces: mlcycle.Faces) -> mlcycle.Face | None:
    return faces[0] if len(faces) else None


def likely(faces: mlcycle.Faces) -> mlcycle.Faces:
    return faces[faces.scores > 0.9]


def codes(model: mlcycle.Model, image: bytes) -> str:
    try:
        model(image)
    except mlcycle.UnreadableError as problem:
        return problem.code
    return "read"


def copies(faces: mlcycle.Faces) -> list[Image.Image]:
    return [faces.draw(), faces.redact("pixelate"), *faces.crops(align=True)]


def life(recipe: Path, labelled: Path, photos: list[Path]) -> str:
    run = mlcycle.train(recipe, overrides={"schedule.steps": 200}, out="runs/a", quiet=True)
    score: float = run.average_precision_50
    frozen = mlcycle.freeze(run, images=photos)
    variant = mlcycle.export(frozen, precision="int8", images=photos)
    metrics = mlcycle.evaluate(mlcycle.load(variant), labelled, long_side="original")
    speed: dict[str, object] = mlcycle.load(variant.path).bench(seconds=score)
    return f"{metrics} {metrics.to_dict()} {speed} {frozen.thresholds['balanced']} {variant.sha256}"


def any_of(model: mlcycle.Model, image: mlcycle.ImageInput) -> int:
    return len(model(image))


def main() -> None:
    model = mlcycle.load("face-nano", provider="cpu", threads=2)
    height: int = model.contract.resize.long_side
    threshold: float = model.thresholds["balanced"]
    record: dict[str, object] = model(np.zeros((height, 80, 3), np.uint8)).to_dict()
    print(mlcycle.__version__, threshold, record)
"""
WRONG = """
import mlcycle

model = mlcycle.load("face-nano", provider="gpu")
model(42)
model("photo.jpg").redact("smudge")
mlcycle.laod("face-nano")
"""


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What mypy has to say of both programs; of the library's own code it is silent."""
    pytest.importorskip("mypy")
    folder = tmp_path_factory.mktemp("programs")
    (folder / "right.py").write_text(PROGRAM)
    (folder / "wrong.py").write_text(WRONG)
    (folder / "mypy.ini").write_text(
        "[mypy]\nstrict = true\nfollow_imports = silent\nno_error_summary = true\nshow_error_codes = true\n"
        "[mypy-torch.*,torchvision.*,onnx.*,pydantic.*]\nfollow_imports = skip\n"
    )
    package = str(Path(mlcycle.__file__).parent.parent)
    found = {} if "site-packages" in package else {"MYPYPATH": package}  # installed, mypy finds it by itself
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "right.py", "wrong.py"],
        cwd=folder, env=environment(found), capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert not done.stderr
    return [line for line in done.stdout.splitlines() if ": error:" in line]


def test_a_program_of_a_users_passes(messages: list[str]) -> None:
    assert [line for line in messages if line.startswith("right.py")] == []


def test_mistakes_are_found(messages: list[str]) -> None:
    assert [line.split(":")[1] for line in messages if line.startswith("wrong.py")] == ["4", "5", "6", "7"]
