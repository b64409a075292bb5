"""Variants are sealed, name their parent and agree with it; otherwise they are not written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

onnx = pytest.importorskip("onnx")

from tiny_model import GREEN, write_tiny_model  # noqa: E402

from mlcycle.artifact.seal import read_sealed, seal_bytes  # noqa: E402
from mlcycle.exporting.gates import side_by_side  # noqa: E402
from mlcycle.exporting.precision.half import to_half  # noqa: E402
from mlcycle.inference.detect import load_detector  # noqa: E402


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests do not measure speed."""
    monkeypatch.setattr(side_by_side, "SECONDS", 0.0)


@pytest.fixture(scope="module")
def convolution() -> onnx.ModelProto:
    """Three convolutions between a scale and a sum."""
    text = """
    <ir_version: 10, opset_import: ["" : 18]>
    three (float[1, 3, 32, 32] x) => (float[1, 4, 32, 32] y)
    <float[4, 3, 3, 3] a, float[4, 4, 3, 3] b, float[4, 4, 3, 3] c>
    {
        half = Constant<value_float = 0.5>()
        scaled = Mul(x, half)
        one = Conv<pads = [1, 1, 1, 1]>(scaled, a)
        two = Conv<pads = [1, 1, 1, 1]>(one, b)
        three = Conv<pads = [1, 1, 1, 1]>(two, c)
        y = Add(three, three)
    }
    """
    import numpy as np

    model = onnx.parser.parse_model(text)
    random = np.random.default_rng(0)
    del model.graph.initializer[:]
    for name, inputs in (("a", 3), ("b", 4), ("c", 4)):
        weights = random.normal(size=(4, inputs, 3, 3)).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weights, name))
    return model


def test_all_but_the_first_convolution_become_float16(convolution: onnx.ModelProto) -> None:
    half = to_half(convolution, "float16")
    types = {weights.name: weights.data_type for weights in half.graph.initializer}
    assert types == {
        "a": onnx.TensorProto.FLOAT,
        "b_half": onnx.TensorProto.FLOAT16,
        "c_half": onnx.TensorProto.FLOAT16,
    }
    for value in (*half.graph.input, *half.graph.output):
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert convolution.graph.initializer[1].data_type == onnx.TensorProto.FLOAT  # the parent is unchanged


def test_a_variant_names_its_parent_and_cannot_be_exported_again(
    tmp_path: Path, astronaut: Path, mlcycle: Callable
) -> None:
    from PIL import Image

    path = tmp_path / "photo.png"
    image = Image.open(astronaut).convert("RGB")
    image.paste(GREEN, (100, 120, 180, 220))
    image.save(path)
    parent, child = write_tiny_model(tmp_path / "parent.onnx"), tmp_path / "half.onnx"
    outcome = mlcycle("export", parent, "--precision", "float16", "--images", path, "-o", child)
    assert outcome.code == 0, outcome.err
    contract = load_detector(child).contract
    assert contract.precision == "float16"
    assert contract.parent == read_sealed(parent).sha256
    assert outcome.out.split()[0] == read_sealed(child).sha256
    again = mlcycle("export", child, "--precision", "float16", "--images", path)
    assert again.code == 4
    assert "variant" in again.err


def test_a_variant_without_faces_to_compare_is_not_written(tmp_path: Path, astronaut: Path, mlcycle: Callable) -> None:
    parent = write_tiny_model(tmp_path / "parent.onnx")
    outcome = mlcycle("export", parent, "--precision", "float16", "--images", astronaut, "-o", tmp_path / "half.onnx")
    assert outcome.code == 5
    assert not (tmp_path / "half.onnx").exists()


def test_int8_needs_convolutions_and_readable_images(tmp_path: Path, astronaut: Path, mlcycle: Callable) -> None:
    parent = write_tiny_model(tmp_path / "parent.onnx")
    outcome = mlcycle("export", parent, "--precision", "int8", "--images", astronaut, "--images", astronaut)
    assert outcome.code == 4
    assert "no convolution" in outcome.err
    outcome = mlcycle("export", parent, "--precision", "int8", "--images", astronaut)
    assert outcome.code == 3
    assert "one image is too few" in outcome.err
    broken = tmp_path / "broken.jpg"
    broken.write_text("no image")
    outcome = mlcycle("export", parent, "--precision", "int8", "--images", broken, "--images", broken)
    assert outcome.code == 3
    assert "can be read" in outcome.err
    assert [each.name for each in tmp_path.glob("*.onnx")] == ["parent.onnx"]


def test_export_needs_a_valid_change(tmp_path: Path, astronaut: Path, mlcycle: Callable) -> None:
    parent = write_tiny_model(tmp_path / "parent.onnx")
    assert mlcycle("export", parent, "--images", astronaut).code == 2
    assert mlcycle("export", parent, "--images", astronaut, "--input-size", "wide").code == 2
    assert mlcycle("export", parent, "--images", astronaut, "--input-size", "16x16").code == 2
    assert mlcycle("export", parent, "--precision", "float16").code == 3


def test_a_parent_that_is_not_admitted_is_not_read_by_onnx(
    tmp_path: Path, astronaut: Path, mlcycle: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tiny_model import unsealed_model

    model = unsealed_model()
    model.graph.node.append(onnx.helper.make_node("Python", ["images"], ["unread"], domain="com.example"))
    (tmp_path / "parent.onnx").write_bytes(seal_bytes(model.SerializeToString()))
    monkeypatch.setattr(onnx, "load_model_from_string", lambda *_: pytest.fail("onnx read the file"))
    outcome = mlcycle("export", tmp_path / "parent.onnx", "--precision", "float16", "--images", astronaut)
    assert (outcome.code, "operators of the domain com.example" in outcome.err) == (4, True)


def test_the_name_in_a_contract_cannot_leave_the_folder(tmp_path: Path, astronaut: Path, mlcycle: Callable) -> None:
    from dataclasses import replace

    from PIL import Image
    from tiny_model import CONTRACT, tiny_bytes

    (tmp_path / "in").mkdir()
    with Image.open(astronaut) as image:
        image.paste(GREEN, (40, 50, 60, 80))
        image.save(tmp_path / "in" / "photo.png")
    (tmp_path / "in" / "parent.onnx").write_bytes(tiny_bytes(replace(CONTRACT, name="../out")))
    images = ("--images", tmp_path / "in" / "photo.png")
    outcome = mlcycle("export", tmp_path / "in" / "parent.onnx", "--precision", "float16", *images)
    assert outcome.code == 0, outcome.err
    assert [each.name for each in tmp_path.iterdir()] == ["in"]
    assert len(list((tmp_path / "in").glob("out-*.onnx"))) == 1


def test_an_opset_that_the_oldest_runtime_refuses_gets_a_warning(
    tmp_path: Path, astronaut: Path, mlcycle: Callable
) -> None:
    from PIL import Image

    with Image.open(astronaut) as image:
        image.paste(GREEN, (40, 50, 60, 80))
        image.save(tmp_path / "photo.png")
    parent = write_tiny_model(tmp_path / "parent.onnx")
    for opset, warned in ((21, False), (22, True)):
        outcome = mlcycle("export", parent, "--opset", opset, "--images", tmp_path / "photo.png")
        assert outcome.code == 0, outcome.err
        assert ("warning: opset 22 needs a newer onnxruntime than" in outcome.err) == warned


def test_the_oldest_runtime_is_the_one_that_the_package_accepts() -> None:
    import tomllib

    from mlcycle.exporting.opset import OLDEST_RUNTIME

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    assert f"onnxruntime>={OLDEST_RUNTIME}" in project["dependencies"]


def test_the_contract_is_written_next_to_a_variant(tmp_path: Path, astronaut: Path, mlcycle: Callable) -> None:
    from PIL import Image

    from mlcycle.artifact.contract import from_json

    with Image.open(astronaut) as image:
        image.paste(GREEN, (40, 50, 60, 80))
        image.save(tmp_path / "photo.png")
    parent = write_tiny_model(tmp_path / "parent.onnx")
    words = ("export", parent, "--opset", "19", "--images", tmp_path / "photo.png", "-o", tmp_path / "new.onnx")
    (tmp_path / "new.onnx.contract.json").write_text("somebody's notes")
    refused = mlcycle(*words)
    assert (refused.code, "new.onnx.contract.json exists with other contents" in refused.err) == (3, True)
    assert not (tmp_path / "new.onnx").exists()
    (tmp_path / "new.onnx.contract.json").unlink()
    assert mlcycle(*words).code == 0
    assert from_json((tmp_path / "new.onnx.contract.json").read_text()) == load_detector(tmp_path / "new.onnx").contract
