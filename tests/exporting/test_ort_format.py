"""The ORT format: the same answers, the same bytes each time, and nothing that mlcycle would not write."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")

from conftest import environment
from float_model import write_float_model
from tiny_model import GREEN, write_tiny_model

from mlcycle.artifact import ort_tables
from mlcycle.artifact.ort_check import check_ort
from mlcycle.artifact.ort_tables import read_tables
from mlcycle.artifact.seal import BLANK, SealedBytes, read_sealed, seal_bytes, write_sealed
from mlcycle.errors import ModelFileError
from mlcycle.exporting.ort_format import required_operators, to_ort
from mlcycle.exporting.ort_writer import write_tables
from mlcycle.inference.detect import load_detector
from mlcycle.inference.session import open_session


def exported(source: Path) -> bytes:
    sealed = read_sealed(source)
    return to_ort(sealed, open_session(sealed, provider="cpu").contract)


@pytest.fixture(scope="module")
def tiny_ort(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return exported(write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx"))


def photograph() -> np.ndarray:
    from skimage import data

    picture_HW3 = data.astronaut()[:300, :400].copy()
    picture_HW3[120:220, 100:180] = GREEN
    return picture_HW3


def test_the_self_test_comes_along_and_is_answered(tmp_path: Path) -> None:
    source = write_float_model(tmp_path / "float.onnx")
    write_sealed(exported(source), tmp_path / "float.ort")
    child = load_detector(tmp_path / "float.ort", provider="cpu").session  # else it would not load
    assert child.self_test == open_session(read_sealed(source), provider="cpu").self_test
    distance = child.distance()
    assert distance is not None
    assert distance.pixels < 0.01


@pytest.mark.parametrize("model", ["tiny", "face-nano"])
def test_the_answers_are_those_of_the_parent(model: str, tmp_path: Path) -> None:
    source = write_tiny_model(tmp_path / "tiny.onnx") if model == "tiny" else Path(model)
    parent = read_sealed(source)
    write_sealed(exported(source), tmp_path / "child.ort")
    one, other = (open_session(read_sealed(each), provider="cpu") for each in (source, tmp_path / "child.ort"))
    for picture_HW3 in (photograph(), np.zeros((1, 1, 3), np.uint8)):
        answers = [session.run(picture_HW3[None]) for session in (one, other)]
        for mine, theirs in zip(*answers, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-3)
    assert answers[1][0].shape == (1, 0, 4)
    assert other.contract.parent == parent.sha256
    assert other.contract.precision == one.contract.precision


def test_weights_come_out_as_they_went_in() -> None:
    tables = read_tables(exported(Path("face-nano")))
    again = read_tables(write_tables(tables))
    assert again == tables
    assert len(tables["model"]["graph"]["initializers"]) > 100


def test_another_process_writes_the_same_bytes(tmp_path: Path) -> None:
    code = """if True:
        import sys, hashlib, pathlib
        from test_ort_format import exported
        print(hashlib.sha256(exported(pathlib.Path("face-nano"))).hexdigest())"""
    away = environment()
    away["PYTHONPATH"] += f":{Path(__file__).parent}:{Path(__file__).parent.parent}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=away, check=True)
    assert done.stdout.strip() == hashlib.sha256(exported(Path("face-nano"))).hexdigest()


def test_a_damaged_one_is_found_before_it_is_read(tiny_ort: bytes, tmp_path: Path) -> None:
    damaged = bytearray(tiny_ort)
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "tiny.ort").write_bytes(damaged)
    with pytest.raises(ModelFileError, match="damaged"):
        read_sealed(tmp_path / "tiny.ort")


def test_what_mlcycle_never_writes_is_not_loaded(tiny_ort: bytes) -> None:
    def load(change: str) -> None:
        tables = read_tables(tiny_ort)
        graph = tables["model"]["graph"]
        if change == "domain":
            graph["nodes"][0]["domain"] = b"com.example"
        elif change == "weights":
            graph["initializers"][0] |= {"external_data_offset": 0}
        elif change == "inner weights":
            graph["nodes"][0]["attributes"].append({"name": b"x", "type": 4, "t": {"external_data_offset": 8}})
        elif change == "operator":
            graph["nodes"][0] |= {"domain": b"com.microsoft", "op_type": b"EPContext"}
        elif change == "graph":
            graph["nodes"][0]["attributes"].append({"name": b"x", "type": 5, "g": {"nodes": []}})
        elif change == "metadata":
            tables["model"]["metadata_props"].append({"key": b"x", "value": b"y" * 2_000_000})
        elif change == "a key twice":
            tables["model"]["metadata_props"].append({"key": b"mlcycle.contract", "value": b"{}"})
        elif change == "optimisations":
            graph["runtime_optimizations"] = {"records": [{}]}
        data = seal_bytes(write_tables(tables) + BLANK)
        open_session(SealedBytes(data, "", Path("tiny.ort")), provider="cpu")

    load("nothing")
    for change in (
        "domain",
        "operator",
        "weights",
        "inner weights",
        "graph",
        "metadata",
        "a key twice",
        "optimisations",
    ):
        with pytest.raises(ModelFileError, match="must not have"):
            load(change)


def test_no_bytes_bring_the_reader_down(tiny_ort: bytes) -> None:
    random = np.random.default_rng(0)
    refused = 0
    for length in (8, 9, 30, 400, len(tiny_ort) // 2):
        with pytest.raises(ModelFileError):
            check_ort(SealedBytes(tiny_ort[:length], "", Path("short.ort")))
    for _ in range(200):
        changed = bytearray(tiny_ort)
        for place in random.integers(8, len(changed), 40):
            changed[place] = random.integers(256)
        try:
            check_ort(SealedBytes(bytes(changed), "", Path("changed.ort")))
        except ModelFileError:
            refused += 1
    assert refused > 20


@pytest.mark.parametrize(("size", "most"), [(100_000, 1_000_000), (1, 1_500)], ids=["rows", "tables"])
def test_a_small_file_that_points_at_the_same_over_and_over_is_not_read_to_its_end(
    size: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    flatbuffers = pytest.importorskip("flatbuffers")
    monkeypatch.setattr(ort_tables, "MOST_PARTS", most)
    builder = flatbuffers.Builder(1 << 20)

    def table(slots: int, slot: int, content: int) -> int:
        builder.StartObject(slots)
        builder.PrependUOffsetTRelative(content)
        builder.Slot(slot)
        return builder.EndObject()

    weights = table(7, 4, builder.CreateByteVector(bytes(size)))
    builder.StartVector(4, 1000, 4)
    for _ in range(1000):
        builder.PrependUOffsetTRelative(weights)
    graph = table(9, 0, builder.EndVector())
    builder.Finish(table(4, 1, table(10, 7, graph)), file_identifier=b"ORTM")
    with pytest.raises(ModelFileError, match="more tables and rows than any model"):
        check_ort(SealedBytes(bytes(builder.Output()), "", Path("bomb.ort")))


def test_the_operators_are_those_that_the_runtimes_own_tool_names(tmp_path: Path) -> None:
    tools = pytest.importorskip("onnxruntime.tools.ort_format_model")
    data = exported(Path("face-nano"))
    (tmp_path / "model.ort").write_bytes(data)
    tools.create_config_from_models([tmp_path / "model.ort"], tmp_path / "ops.config", False)
    lines = [each for each in (tmp_path / "ops.config").read_text().splitlines() if not each.startswith("#")]
    assert sorted(required_operators(data).splitlines()) == sorted(lines)
    assert any(each.startswith("com.microsoft;1;") for each in lines)
