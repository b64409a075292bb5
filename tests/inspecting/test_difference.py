"""`mlcycle model diff`: finds exactly the changes in contracts, graphs, weights and detections."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

onnx = pytest.importorskip("onnx")
from self_test_models import (  # noqa: E402
    change_weights,
    first_convolution,
    flip_largest,
    opened,
    swap_colours,
    write_with_self_test,
)
from tiny_model import BLUE, CONTRACT, GREEN, tiny_bytes, unsealed_model  # noqa: E402

from mlcycle.artifact.packing import pack  # noqa: E402
from mlcycle.artifact.seal import seal_bytes, write_sealed  # noqa: E402
from mlcycle.artifact.self_test import make_self_test  # noqa: E402
from mlcycle.artifact.structure import structure_of  # noqa: E402
from mlcycle.inspecting.diff import weights  # noqa: E402


@pytest.fixture
def diff(mlcycle):
    """Returns what `mlcycle model diff A B … --json` prints."""

    def run(*arguments: Path | str) -> dict:
        outcome = mlcycle("model", "diff", *arguments, "--json")
        assert outcome.code == 0, outcome.err
        return json.loads(outcome.out)

    return run


def test_a_file_equals_itself(diff, mlcycle):
    found = diff("face-nano", "face-nano")
    assert found["same_bytes"]
    assert (found["contract"], found["operators"], found["weights"]["differ"]) == ([], [], 0)
    assert "both files have the same bytes" in mlcycle("model", "diff", "face-nano", "face-nano").out


def test_contract_fields_have_dotted_names(diff, mlcycle, tmp_path):
    write_sealed(tiny_bytes(), tmp_path / "a.onnx")
    contract = replace(CONTRACT, thresholds={"balanced": 0.75}, about={"licence": "MIT"})
    changed = json.loads(contract.to_json()) | {"added_later": 1}
    write_sealed(tiny_bytes(contract_json=json.dumps(changed)), tmp_path / "b.onnx")
    found = diff(tmp_path / "a.onnx", tmp_path / "b.onnx")
    changes = {each["field"]: (each["a"], each["b"], each["only_in"]) for each in found["contract"]}
    assert changes == {
        "thresholds.balanced": (0.5, 0.75, None),
        "about": ({}, None, "a"),
        "about.licence": (None, "MIT", "b"),
        "added_later": (None, 1, "b"),
    }
    assert found["sections"] == {"weights": True, "graph": True, "contract": False, "self-test": None}
    assert "thresholds.balanced  0.5" in mlcycle("model", "diff", tmp_path / "a.onnx", tmp_path / "b.onnx").out


def test_self_tests_are_compared_by_their_largest_difference(diff, mlcycle, tmp_path):
    boxes_34, scores_3 = np.array([[1, 2, 30, 40]] * 3, np.float32), np.array([0.5] * 3, np.float32)
    for name, shift in (("a", 0), ("b", [[0, 0.5, 0, 0]])):
        data = pack(unsealed_model(), CONTRACT, make_self_test(boxes_34 + shift, scores_3, None))
        write_sealed(data, tmp_path / f"{name}.onnx")
    found = diff(tmp_path / "a.onnx", tmp_path / "b.onnx")
    assert [each["field"] for each in found["self_test"]] == ["boxes"]
    assert "differs by at most 0.5" in mlcycle("model", "diff", tmp_path / "a.onnx", tmp_path / "b.onnx").out


def test_equal_values_in_another_encoding_differ(diff, mlcycle, tmp_path):
    write_sealed(tiny_bytes(), tmp_path / "a.onnx")
    spaced = json.dumps(json.loads(CONTRACT.to_json()), sort_keys=True)
    write_sealed(tiny_bytes(contract_json=spaced), tmp_path / "spaced.onnx")
    model = unsealed_model()
    model.metadata_props.insert(0, onnx.StringStringEntryProto(key="author", value="somebody"))
    write_sealed(seal_bytes(model.SerializeToString()), tmp_path / "entry.onnx")
    assert diff(tmp_path / "a.onnx", tmp_path / "entry.onnx")["metadata"] == ["author"]
    found = diff(tmp_path / "a.onnx", tmp_path / "spaced.onnx")
    assert (found["same_bytes"], found["sections"]["contract"], found["contract"]) == (False, False, [])
    assert (
        "contract   different encoding, equal values"
        in mlcycle("model", "diff", tmp_path / "a.onnx", tmp_path / "spaced.onnx").out
    )


def test_one_changed_weight_is_found(diff, tmp_path):
    a = write_with_self_test(tmp_path / "a.onnx", precision="float32")
    b = write_with_self_test(tmp_path / "b.onnx", precision="float32", change=flip_largest)
    found = diff(a, b)
    assert found["sections"] == {"weights": False, "graph": True, "contract": True, "self-test": True}
    (change,) = found["weights"]["most"]
    assert (change["differing"], change["largest"]) == (1, 2.0)
    assert found["weights"]["differ"] == 1
    assert 0 < change["mean"] < 0.1


def test_operators_and_tensors_of_only_one_file(diff, tmp_path):
    a = write_with_self_test(tmp_path / "a.onnx")
    b = write_with_self_test(tmp_path / "b.onnx", change=swap_colours)
    found = diff(a, b)
    (change,) = found["operators"]
    assert (change["operator"], change["b"] - change["a"]) == ("Gather", 1)
    assert found["weights"]["only_b"] == [{"name": "colours", "type": "int64", "shape": [3]}]
    assert found["weights"]["only_a"] == []


def test_a_variant_and_its_parent_differ_in_types_without_noise(diff, mlcycle, tmp_path):
    parent, variant = (
        write_with_self_test(tmp_path / "f.onnx", precision="float32"),
        write_with_self_test(tmp_path / "i.onnx"),
    )
    found = diff(parent, variant)
    assert found["weights"]["most"] == []
    assert {each["operator"] for each in found["operators"]} >= {"QuantizeLinear", "DequantizeLinear"}
    text = mlcycle("model", "diff", parent, variant).out
    assert "A is float32 and B is int8" in text
    assert len(text.splitlines()) < 40


def test_floats_of_other_widths_are_compared_and_nan_is_reported():
    model, _ = opened("face-nano")
    name = next(each.name for each in model.graph.initializer if each.name.endswith("answer.weight"))
    halves = onnx.ModelProto.FromString(model.SerializeToString())
    change_weights(halves, name, lambda values: (values * np.float32(1.0003)).astype(np.float16))
    found = compare(model, halves)
    assert [each["name"] for each in found["other_shape_or_type"]] == [name]
    (change,) = found["most"]
    assert 0 < change["mean"] <= 2**-10
    change_weights(model, first_convolution(model), lambda values: values[::-1])
    change_weights(halves, name, lambda values: np.full_like(values, np.nan, np.float16))
    found = compare(model, halves)
    assert [each["largest"] is None for each in found["most"]] == [True, False]
    assert json.dumps(found, allow_nan=False)


def compare(one: onnx.ModelProto, other: onnx.ModelProto) -> dict:
    data = [model.SerializeToString() for model in (one, other)]
    tensors = [structure_of(each).tensors for each in data]
    return weights.compare(tensors[0], data[0], tensors[1], data[1])


@pytest.mark.slow
def test_detections_are_compared_at_the_threshold_of_each_file(diff, mlcycle, astronaut, tmp_path):
    """Both files detect the green patch; only the one with the lower threshold detects the partly covered blue one."""
    images = tmp_path / "images"
    images.mkdir()
    with Image.open(astronaut) as image:
        image.save(images / "none.png")
        image.paste(GREEN, (10, 10, 60, 60))
        image.save(images / "one.png")
        image.paste(BLUE, (300, 300, 400, 400))
        image.paste((0, 0, 0), (320, 320, 360, 370))
        image.save(images / "two.png")
    (images / "broken.png").write_bytes(b"no image")
    for name, threshold in (("a", 0.5), ("b", 0.9)):
        write_sealed(tiny_bytes(replace(CONTRACT, thresholds={"balanced": threshold})), tmp_path / f"{name}.onnx")
    arguments = (tmp_path / "a.onnx", tmp_path / "b.onnx", "--images", images)
    found = diff(*arguments)["detections"]
    faces = found["faces"]
    assert (found["images"], found["unreadable"]) == (3, [str(images / "broken.png")])
    assert (faces["both"], faces["only_a"], faces["only_b"], faces["nearly_a"]) == (2, 1, 0, 1)
    assert (faces["mean_iou"], faces["largest_score_difference"]) == (1.0, 0.0)
    assert [Path(each["image"]).name for each in found["most"]] == ["two.png"]
    assert "only by A      1 face; B scored 1 of them too low" in mlcycle("model", "diff", *arguments).out


def test_unreadable_files_exit_4_or_3(mlcycle, tmp_path):
    (tmp_path / "empty").mkdir()
    assert mlcycle("model", "diff", "face-nano", tmp_path / "missing.onnx").code == 4
    assert mlcycle("model", "diff", "face-nano", "face-base", "--images", tmp_path / "empty").code == 3
    assert mlcycle("model", "diff", "face-nano", "face-base", "--images", tmp_path / "missing").code == 3


def test_each_file_is_read_once(mlcycle, astronaut, monkeypatch):
    from mlcycle.inference import detect

    monkeypatch.setattr(detect, "read_sealed", lambda _: pytest.fail("a file was read twice"))
    assert mlcycle("model", "diff", "face-nano", "face-base", "--images", astronaut.parent).code == 0
