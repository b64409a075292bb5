"""Admitted and sealed graphs that violate their contract: a clear error, and no crash."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Outcome
from onnx import ModelProto, TensorProto, helper, numpy_helper
from tiny_model import unsealed_model

from mlcycle.artifact.seal import seal_bytes

Run = Callable[..., Outcome]
BOXES, SCORES, POINTS = np.zeros((1, 2, 4), np.float32), np.ones((1, 2), np.float32), np.zeros((1, 2, 5, 2), np.float32)


def sealed(model: ModelProto, path: Path) -> Path:
    path.write_bytes(seal_bytes(model.SerializeToString(deterministic=True)))
    return path


def constant_model(
    path: Path, boxes: np.ndarray = BOXES, scores: np.ndarray = SCORES, points: np.ndarray = POINTS
) -> Path:
    """Writes a model with the same outputs for every image."""
    model = unsealed_model()
    values = {"boxes": boxes, "scores": scores, "landmarks": points}
    del model.graph.node[:], model.graph.output[:], model.graph.initializer[:]
    for name, value in values.items():
        model.graph.node.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value)))
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        model.graph.output.append(helper.make_tensor_value_info(name, kind, None))
    return sealed(model, path)


def test_outputs_that_match_the_contract_are_accepted(mlcycle: Run, astronaut: Path, tmp_path: Path) -> None:
    outcome = mlcycle("infer", astronaut, "--model", constant_model(tmp_path / "x.onnx"), "--format", "json")
    assert (outcome.code, len(json.loads(outcome.out)["records"][0]["faces"])) == (0, 2)


@pytest.mark.parametrize(
    "spoilt",
    [
        {"boxes": np.full((1, 2, 4), np.nan, np.float32)},
        {"boxes": np.full((1, 2, 4), -np.inf, np.float32)},
        {"boxes": np.zeros((4,), np.float32)},
        {"boxes": np.zeros((1, 3, 4), np.float32)},
        {"scores": np.full((1, 2), np.inf, np.float32)},
        {"scores": np.ones((), np.float32)},
        {"scores": np.ones((1, 2, 1), np.float32)},
        {"scores": np.ones((2, 2), np.float32)},
        {"points": np.zeros((1, 2, 4, 2), np.float32)},
        {"points": np.full((1, 2, 5, 2), np.nan, np.float32)},
    ],
)
def test_outputs_that_violate_the_contract_are_an_error_of_the_image(
    spoilt: dict[str, np.ndarray], mlcycle: Run, astronaut: Path, tmp_path: Path
) -> None:
    model = constant_model(tmp_path / "x.onnx", **spoilt)
    outcome = mlcycle("infer", astronaut, astronaut, "--model", model, "--format", "json")
    errors = [record["error"] for record in json.loads(outcome.out)["records"]]
    assert outcome.code == 3
    assert {each["code"] for each in errors} == {"model-failed"}
    assert "do not match its contract" in errors[0]["message"]


@pytest.mark.parametrize(
    "spoilt",
    [
        {"scores": np.array([["1.0", "\x1b[31m"]], object)},
        {"boxes": BOXES.astype(np.int64)},
        {"points": POINTS.astype(np.float16)},
    ],
    ids=["strings", "integers", "half"],
)
def test_outputs_of_other_types_are_refused_when_the_model_is_loaded(
    spoilt: dict[str, np.ndarray], mlcycle: Run, tmp_path: Path
) -> None:
    outcome = mlcycle("model", "verify", constant_model(tmp_path / "x.onnx", **spoilt))
    assert (outcome.code, outcome.out) == (4, "")
    assert "does not match its contract" in outcome.err


def without_a_shape(model: ModelProto) -> None:
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("images", TensorProto.UINT8, None))


def no_pixels(model: ModelProto) -> None:
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("images", TensorProto.UINT8, []))


def with_another_input(model: ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.UINT8, [1, 1, 1, 3]))


def with_weights_for_images(model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 4, 4, 3), np.uint8), "images"))


def padded_with_grey(model: ModelProto) -> None:
    entry = model.metadata_props[0]
    entry.value = entry.value.replace('"padding":{"side":"right-bottom","value":0}', '"padding":{"side":"","value":9}')


def with_another_input_size(model: ModelProto) -> None:
    entry = model.metadata_props[0]
    size = '"input_size":{"batch":1,"height":64,"width":64}'
    entry.value = entry.value.replace('"input_size":null', size).replace("fit-long-side", "fit-inside")


@pytest.mark.parametrize(
    "spoil",
    [
        without_a_shape,
        no_pixels,
        with_another_input,
        with_weights_for_images,
        padded_with_grey,
        with_another_input_size,
    ],
)
def test_other_inputs_are_refused_when_the_model_is_loaded(
    spoil: Callable[[ModelProto], None], mlcycle: Run, tmp_path: Path
) -> None:
    model = unsealed_model()
    spoil(model)
    outcome = mlcycle("model", "verify", sealed(model, tmp_path / "x.onnx"))
    assert (outcome.code, outcome.out) == (4, "")
    assert "unexpected" not in outcome.err


@pytest.mark.parametrize("name", [b"landmarks", b"painted"])
def test_names_that_are_not_utf8_neither_crash_nor_reach_stdout(name: bytes, mlcycle: Run, tmp_path: Path) -> None:
    data = unsealed_model().SerializeToString(deterministic=True)
    head, contract = data.split(b"mlcycle.contract")
    (tmp_path / "x.onnx").write_bytes(
        seal_bytes(head.replace(name, b"\xff" * len(name)) + b"mlcycle.contract" + contract)
    )
    outcome = mlcycle("infer", "photo.jpg", "--model", tmp_path / "x.onnx")
    assert outcome.code == 4 if name == b"landmarks" else 3
    assert "UnicodeDecodeError" not in outcome.err
    unknown = head.replace(b"Greater", b"Identi\xff")
    (tmp_path / "x.onnx").write_bytes(seal_bytes(unknown + b"mlcycle.contract" + contract))
    assert mlcycle("model", "verify", tmp_path / "x.onnx")[:2] == (4, "")
