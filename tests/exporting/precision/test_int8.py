"""int8: the quantised nodes, their ranges, and the outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

onnx = pytest.importorskip("onnx")

from small_network import random_images, small_network  # noqa: E402

from mlcycle.exporting.precision.calibration import ranges_of  # noqa: E402
from mlcycle.exporting.precision.int8 import quantised_weights, scale_and_zero_point, to_int8  # noqa: E402
from mlcycle.exporting.precision.int8_plan import plan_of  # noqa: E402
from mlcycle.exporting.precision.stem import group_pixels  # noqa: E402


def quantised(model: onnx.ModelProto) -> onnx.ModelProto:
    plan = plan_of(model)
    return to_int8(model, plan, ranges_of(model, plan.measured, random_images()))


def outputs(model: onnx.ModelProto, image_HW3: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"images": image_HW3[None]})


def test_all_but_the_first_and_the_output_convolutions_become_int8() -> None:
    plan = plan_of(small_network())
    assert plan.computed == {"second", "third", "lateral", "below", "merged", "head_fine", "head_coarse"}
    assert plan.copied == {"above": "below"}
    assert plan.measured == (
        "first_relu", "second_relu", "third_relu", "lateral", "below", "merged", "head_fine_relu", "head_coarse_relu",
    )  # fmt: skip


def test_a_first_convolution_over_four_pixels_reads_them_as_uint8() -> None:
    grouped = group_pixels(small_network())
    plan = plan_of(grouped)
    assert "stem_sums" in plan.computed
    assert plan.pixels == {"stem_pixels"}
    assert plan.source("first_relu") == "stem_places"
    variant = quantised(grouped)
    assert not [node for node in variant.graph.node if node.op_type == "Cast"]


@pytest.mark.parametrize("form", [small_network, lambda: group_pixels(small_network())])
def test_the_outputs_stay_close(form) -> None:
    model = form()
    before = model.SerializeToString()
    variant = quantised(model)
    assert model.SerializeToString() == before
    for image_HW3 in random_images():
        for one, other in zip(outputs(model, image_HW3), outputs(variant, image_HW3), strict=True):
            assert one.shape == other.shape
            assert np.abs(one - other).mean() < 0.05 * one.std()


def test_the_runtime_runs_the_planned_nodes_in_int8(tmp_path: Path) -> None:
    variant = quantised(group_pixels(small_network()))
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(variant.SerializeToString(), options, providers=["CPUExecutionProvider"])
    optimised = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert optimised.count("QLinearConv") == 7
    assert optimised.count("Conv") == 2
    assert "Relu" not in optimised
    assert optimised.count("QLinearAdd") == 1


def test_shared_weights_are_stored_once() -> None:
    variant = quantised(small_network())
    types = {each.name: each.data_type for each in variant.graph.initializer}
    assert types["w_head_int8"] == onnx.TensorProto.INT8
    assert "w_head" not in types
    assert types["w_output"] == onnx.TensorProto.FLOAT
    names = [each.name for each in variant.graph.initializer]
    assert len(set(names)) == len(names)
    assert {"head_fine_bias_int32", "head_coarse_bias_int32"} <= set(names)


def test_the_same_images_give_the_same_bytes() -> None:
    model = group_pixels(small_network())
    assert quantised(model).SerializeToString(deterministic=True) == quantised(model).SerializeToString(
        deterministic=True
    )


@pytest.mark.parametrize(("least", "most"), [(0, 4), (-1, 3), (-2, 0), (2, 5), (-5, -1), (0, 0)])
def test_zero_is_exact_and_the_limits_are_close(least: float, most: float) -> None:
    scale, zero_point = scale_and_zero_point(least, most)
    for value in (min(least, 0), 0, max(most, 0)):
        byte = np.clip(np.rint(value / scale) + zero_point, 0, 255)
        assert abs((byte - zero_point) * scale - value) <= (0 if value == 0 else scale)


def test_a_channel_of_zeros_has_a_valid_scale() -> None:
    weights = np.zeros((2, 3, 1, 1), np.float32)
    weights[1] = [[[0.5]], [[-1.0]], [[0.25]]]
    whole, scale_O = quantised_weights(weights)
    assert np.isfinite(scale_O).all()
    assert (scale_O > 0).all()
    assert np.abs(whole * scale_O[:, None, None, None] - weights).max() <= scale_O[1] / 2


def test_the_ranges_cover_all_images() -> None:
    model = small_network()
    plan = plan_of(model)
    each = [ranges_of(model, plan.measured, [image]) for image in random_images()]
    both = ranges_of(model, plan.measured, random_images())
    for name in plan.measured:
        assert both[name] == (min(one[name][0] for one in each), max(one[name][1] for one in each))
    assert both["first_relu"][0] == 0
    assert both["merged"][0] < 0 < both["merged"][1]
