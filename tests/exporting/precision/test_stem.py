"""The first convolution over four pixels at once: another form, the same results."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

onnx = pytest.importorskip("onnx")

from small_network import random_images, small_network  # noqa: E402

from mlcycle.exporting.precision.stem import group_pixels  # noqa: E402


def run(model: onnx.ModelProto, image_HW3: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"images": image_HW3[None]})


@pytest.mark.parametrize(("stride", "form"), [(2, [16, 12, 3, 2]), (1, [32, 12, 3, 3])])
def test_the_results_are_the_same_including_the_edges(stride: int, form: list[int]) -> None:
    model = small_network(stride)
    grouped = group_pixels(model)
    assert grouped is not model
    onnx.checker.check_model(grouped, full_check=True)
    first = next(node for node in grouped.graph.node if node.op_type == "Conv")
    weights = {each.name: each.dims for each in grouped.graph.initializer}
    assert list(weights[first.input[1]]) == form
    for image_HW3 in random_images():
        for one, other in zip(run(model, image_HW3), run(grouped, image_HW3), strict=True):
            assert one.shape == other.shape
            assert np.abs(one - other).max() < 1e-4 * np.abs(one).max()


def test_a_missing_bias_is_accepted() -> None:
    model = small_network()
    del next(node for node in model.graph.node if node.op_type == "Conv").input[2:]
    grouped = group_pixels(model)
    assert grouped is not model
    for one, other in zip(run(model, random_images()[0]), run(grouped, random_images()[0]), strict=True):
        assert np.abs(one - other).max() < 1e-4 * np.abs(one).max()


@pytest.mark.parametrize("change", ["stride", "colours", "rectifier", "pads"])
def test_another_form_is_unchanged(change: str) -> None:
    model = small_network()
    nodes = {node.output[0]: node for node in model.graph.node}
    attributes = {each.name: each for each in nodes["first"].attribute}
    if change == "stride":
        attributes["strides"].ints[:] = [1, 6]
    elif change == "pads":
        attributes["pads"].ints[:] = [0, 0, 0, 0]
    elif change == "rectifier":
        nodes["first_relu"].op_type = "Sigmoid"
    else:
        nodes["as_float"].op_type = "Identity"
    before = model.SerializeToString()
    assert group_pixels(model) is model
    assert model.SerializeToString() == before
