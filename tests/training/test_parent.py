"""`mlcycle freeze NAME`: the float32 file of a bundled model, from which other variants are exported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from conftest import Outcome  # noqa: E402

from mlcycle.artifact.bundled import locate  # noqa: E402
from mlcycle.artifact.seal import read_sealed  # noqa: E402
from mlcycle.inference.detect import load_detector  # noqa: E402
from mlcycle.training.freeze import versions_here  # noqa: E402
from mlcycle.training.parent import contract_of  # noqa: E402

pytestmark = [pytest.mark.training, pytest.mark.slow]


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mlcycle.library.freeze import freeze

    return freeze("face-nano", tmp_path_factory.mktemp("models") / "float.onnx").path


def test_the_file_finds_the_faces_of_the_bundled_one(frozen: Path, astronaut: Path) -> None:
    one, other = load_detector(frozen), load_detector(locate("face-nano"))
    assert (one.contract.precision, one.contract.parent) == ("float32", None)
    assert "calibration" not in one.contract.training
    assert (one.contract.thresholds, one.contract.selection) == (other.contract.thresholds, other.contract.selection)
    mine, theirs = one.detect_file(astronaut), other.detect_file(astronaut)
    np.testing.assert_allclose(mine.boxes_N4, theirs.boxes_N4, atol=3)
    np.testing.assert_allclose(mine.scores_N, theirs.scores_N, atol=0.02)


def test_with_the_same_exporters_it_is_the_parent_of_the_bundled_file(frozen: Path) -> None:
    contract = load_detector(locate("face-nano")).contract
    if versions_here() != contract.training["frozen_with"]:
        pytest.skip("another exporter writes the graph differently")
    assert read_sealed(frozen).sha256 == contract.parent


def test_variants_are_exported_from_it(
    frozen: Path, astronaut: Path, tmp_path: Path, mlcycle: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlcycle.exporting.gates import side_by_side

    monkeypatch.setattr(side_by_side, "SECONDS", 0.0)
    words = ("--precision", "float16", "--images", astronaut, "-o", tmp_path / "half.onnx")
    refused = mlcycle("export", "face-nano", *words)
    assert (refused.code, "mlcycle freeze face-nano" in refused.err) == (4, True)
    assert mlcycle("export", frozen, *words).code == 0
    assert contract_of(load_detector(tmp_path / "half.onnx").contract) == load_detector(frozen).contract


def test_the_command_gives_the_same_bytes_and_says_where_they_come_from(
    frozen: Path, astronaut: Path, tmp_path: Path, mlcycle: Callable[..., Outcome]
) -> None:
    done = mlcycle("freeze", "face-nano", "--images", astronaut, "-o", tmp_path / "again.onnx")
    assert done.code == 0, done.err
    assert (tmp_path / "again.onnx").read_bytes() == frozen.read_bytes()
    assert done.out.split()[0] == read_sealed(frozen).sha256
    assert "compared with the bundled file: 1 image, 1 face: 100.0% found by both" in done.err
    assert "the bundled face-nano was exported from" in done.err
