"""`benchmarks/cost.py`: ratios, order of runs, and refused references; no test measures time."""

from __future__ import annotations

import json
import time

import onnx.checker
import onnx.parser
import pytest
from scripts import cost
from tiny_model import write_tiny_model


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


def write_reference(path, side="height", kind="float"):
    """Writes an ONNX file with one convolution on an image of floats: not a model file of mlcycle."""
    model = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 17]>
        other ({kind}[1, 3, {side}, {side}] image) => (float[1, 1, high, wide] map)
        <float[1, 3, 1, 1] weights = {{0.1, 0.2, 0.3}}>
        {{
          floats = Cast<to: int = 1>(image)
          map = Conv(floats, weights)
        }}"""
    )
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def reference(tmp_path):
    return write_reference(tmp_path / "other.onnx")


def run(*words):
    return cost.main([str(word) for word in words])


def test_ratios_are_relative_to_the_reference_at_each_side(tiny, reference, capsys):
    assert run(tiny, "--against", reference, "--sides", 32, 48, "--rounds", 3, "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["reference"], found["rounds"], found["threads"]) == (str(reference), 3, 1)
    assert [(each["name"], each["side"]) for each in found["costs"]] == [
        (str(reference), 32), (str(tiny), 32), (str(reference), 48), (str(tiny), 48)
    ]  # fmt: skip
    for each in found["costs"]:
        assert 0 < each["ratio_low"] <= each["ratio"] <= each["ratio_high"]
        assert each["name"] != str(reference) or each["ratio"] == 1


def test_the_default_reference_is_the_first_model(tiny, capsys):
    assert run(tiny, "--sides", 32, "--rounds", 2) == 0
    assert f"ratio: to {tiny}" in capsys.readouterr().out


def test_a_model_file_can_be_the_reference(tiny, tmp_path, capsys):
    same = tmp_path / "same.onnx"
    same.write_bytes(tiny.read_bytes())
    assert run(tiny, "--against", same, "--sides", 32, "--rounds", 2) == 0
    assert f"ratio: to {same}" in capsys.readouterr().out


def test_an_image_replaces_the_noise(astronaut):
    resized_HW3 = cost.make_image(48, astronaut)
    assert resized_HW3.shape == (48, 48, 3)
    assert (resized_HW3 != cost.make_image(48, None)).any()
    assert (cost.make_image(48, None) == cost.make_image(48, None)).all()


def test_every_round_runs_each_file_once_and_begins_with_another():
    order = []
    runs = [lambda name=name: order.append(name) for name in "abc"]
    elapsed = cost.measure(runs, 4, time.perf_counter)
    assert elapsed.shape == (4, 3)
    assert "".join(order[3 * cost.WARM_UPS :]) == "abcbcacababc"


@pytest.mark.parametrize(
    ("kind", "side", "code", "sentence"),
    [("float", 64, 2, "takes only"), ("uint8", "height", 4, "does not take one image of floats")],
)
def test_a_reference_with_another_input_is_refused(kind, side, code, sentence, tiny, tmp_path, capsys):
    other = write_reference(tmp_path / "other.onnx", side, kind)
    assert run(tiny, "--against", other, "--sides", 32, "--rounds", 2) == code
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, b"not onnx"])
def test_a_missing_or_invalid_reference_is_refused(content, tiny, tmp_path, capsys):
    other = tmp_path / "other.onnx"
    if content:
        other.write_bytes(content)
    assert run(tiny, "--against", other, "--rounds", 2) == 4
    assert str(other) in capsys.readouterr().err


def test_a_model_must_be_a_model_file_of_mlcycle(reference, capsys):
    assert run(reference, "--rounds", 2) == 4
    assert "not a model file" in capsys.readouterr().err


def test_the_output_file_is_overwritten_only_with_the_option(tiny, tmp_path):
    out = tmp_path / "cost.txt"
    words = (tiny, "--sides", 32, "--rounds", 2, "--out", out)
    assert run(*words) == 0
    first = out.read_text()
    assert "quartiles" in first
    assert run(*words) == 3
    assert out.read_text() == first
    assert run(*words, "--overwrite") == 0
