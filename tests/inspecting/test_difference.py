"""`mlcycle model diff`: what was changed is what is told, in contracts, graphs, weights and answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

onnx = pytest.importorskip("onnx")
from known_models import change_weights, first_convolution, flip_largest, opened, swap_colours, write_known  # noqa: E402
from tiny_model import BLUE, CONTRACT, GREEN, tiny_bytes, unsealed_model  # noqa: E402

from mlcycle.artifact.packing import pack  # noqa: E402
from mlcycle.artifact.seal import seal_bytes, write_sealed  # noqa: E402
from mlcycle.artifact.self_test import make_self_test  # noqa: E402
from mlcycle.artifact.structure import structure_of  # noqa: E402
from mlcycle.inspecting.diff import weights  # noqa: E402


@pytest.fixture
def told(mlcycle):
    """Returns what `mlcycle model diff A B … --json` prints."""

    def ask(*arguments: Path | str) -> dict:
        outcome = mlcycle("model", "diff", *arguments, "--json")
        assert outcome.code == 0, outcome.err
        return json.loads(outcome.out)

    return ask


def test_the_same_file_differs_in_nothing(told, mlcycle):
    found = told("face-nano", "face-nano")
    assert found["same_bytes"]
    assert (found["contract"], found["operators"], found["weights"]["differ"]) == ([], [], 0)
    assert "the same, byte for byte" in mlcycle("model", "diff", "face-nano", "face-nano").out


def test_fields_of_contracts_are_told_by_their_dotted_names(told, mlcycle, tmp_path):
    write_sealed(tiny_bytes(), tmp_path / "a.onnx")
    contract = replace(CONTRACT, thresholds={"balanced": 0.75}, about={"licence": "MIT"})
    said = json.loads(contract.to_json()) | {"added_later": 1}
    write_sealed(tiny_bytes(contract_json=json.dumps(said)), tmp_path / "b.onnx")
    found = told(tmp_path / "a.onnx", tmp_path / "b.onnx")
    changes = {each["field"]: (each["a"], each["b"], each["only_in"]) for each in found["contract"]}
    assert changes == {
        "thresholds.balanced": (0.5, 0.75, None),
        "about": ({}, None, "a"),
        "about.licence": (None, "MIT", "b"),
        "added_later": (None, 1, "b"),
    }
    assert found["sections"] == {"weights": True, "graph": True, "contract": False, "self-test": None}
    assert "thresholds.balanced  0.5" in mlcycle("model", "diff", tmp_path / "a.onnx", tmp_path / "b.onnx").out


def test_known_answers_are_compared_by_how_far_they_are_apart(told, mlcycle, tmp_path):
    boxes_34, scores_3 = np.array([[1, 2, 30, 40]] * 3, np.float32), np.array([0.5] * 3, np.float32)
    for name, shift in (("a", 0), ("b", [[0, 0.5, 0, 0]])):
        data = pack(unsealed_model(), CONTRACT, make_self_test(boxes_34 + shift, scores_3, None))
        write_sealed(data, tmp_path / f"{name}.onnx")
    found = told(tmp_path / "a.onnx", tmp_path / "b.onnx")
    assert [each["field"] for each in found["self_test"]] == ["boxes"]
    assert "the same, but for 0.5 at most" in mlcycle("model", "diff", tmp_path / "a.onnx", tmp_path / "b.onnx").out


def test_what_says_the_same_in_other_bytes_differs(told, mlcycle, tmp_path):
    write_sealed(tiny_bytes(), tmp_path / "a.onnx")
    spaced = json.dumps(json.loads(CONTRACT.to_json()), sort_keys=True)
    write_sealed(tiny_bytes(contract_json=spaced), tmp_path / "spaced.onnx")
    model = unsealed_model()
    model.metadata_props.insert(0, onnx.StringStringEntryProto(key="author", value="somebody"))
    write_sealed(seal_bytes(model.SerializeToString()), tmp_path / "entry.onnx")
    assert told(tmp_path / "a.onnx", tmp_path / "entry.onnx")["metadata"] == ["author"]
    found = told(tmp_path / "a.onnx", tmp_path / "spaced.onnx")
    assert (found["same_bytes"], found["sections"]["contract"], found["contract"]) == (False, False, [])
    assert (
        "contract   differs in how it is written"
        in mlcycle("model", "diff", tmp_path / "a.onnx", tmp_path / "spaced.onnx").out
    )


def test_one_weight_that_was_turned_is_found(told, tmp_path):
    a = write_known(tmp_path / "a.onnx", precision="float32")
    b = write_known(tmp_path / "b.onnx", precision="float32", change=flip_largest)
    found = told(a, b)
    assert found["sections"] == {"weights": False, "graph": True, "contract": True, "self-test": True}
    (change,) = found["weights"]["most"]
    assert (change["differing"], change["largest"]) == (1, 2.0)
    assert found["weights"]["differ"] == 1
    assert 0 < change["mean"] < 0.1


def test_operators_and_tensors_that_only_one_has(told, tmp_path):
    a = write_known(tmp_path / "a.onnx")
    b = write_known(tmp_path / "b.onnx", change=swap_colours)
    found = told(a, b)
    (change,) = found["operators"]
    assert (change["operator"], change["b"] - change["a"]) == ("Gather", 1)
    assert found["weights"]["only_b"] == [{"name": "colours", "type": "int64", "shape": [3]}]
    assert found["weights"]["only_a"] == []


def test_of_a_variant_and_its_parent_the_types_are_told_and_no_noise(told, mlcycle, tmp_path):
    parent, variant = write_known(tmp_path / "f.onnx", precision="float32"), write_known(tmp_path / "i.onnx")
    found = told(parent, variant)
    assert found["weights"]["most"] == []
    assert {each["operator"] for each in found["operators"]} >= {"QuantizeLinear", "DequantizeLinear"}
    text = mlcycle("model", "diff", parent, variant).out
    assert "A is float32 and B is int8" in text
    assert len(text.splitlines()) < 40


def test_floats_of_other_widths_are_compared_and_what_is_no_number_is_told():
    model, _ = opened("face-nano")
    name = next(each.name for each in model.graph.initializer if each.name.endswith("answer.weight"))
    halves = onnx.ModelProto.FromString(model.SerializeToString())
    change_weights(halves, name, lambda values: values.astype(np.float16))
    found = compare(model, halves)
    assert [each["name"] for each in found["other_shape_or_type"]] == [name]
    (change,) = found["most"]
    assert 0 < change["mean"] <= 2**-11
    change_weights(model, first_convolution(model), lambda values: values[::-1])
    change_weights(halves, name, lambda values: np.full_like(values, np.nan, np.float16))
    found = compare(model, halves)
    assert [each["largest"] is None for each in found["most"]] == [True, False]
    assert json.dumps(found, allow_nan=False)


def compare(one: onnx.ModelProto, other: onnx.ModelProto) -> dict:
    data = [model.SerializeToString() for model in (one, other)]
    tensors = [structure_of(each).tensors for each in data]
    return weights.compare(tensors[0], data[0], tensors[1], data[1])


def test_answers_are_compared_at_each_files_own_threshold(told, mlcycle, astronaut, tmp_path):
    """The green patch is a face for both, the blue one, of which four fifths are painted, only for the laxer file."""
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
    found = told(*arguments)["answers"]
    faces = found["faces"]
    assert (found["images"], found["unreadable"]) == (3, [str(images / "broken.png")])
    assert (faces["both"], faces["only_a"], faces["only_b"], faces["nearly_a"]) == (2, 1, 0, 1)
    assert (faces["mean_iou"], faces["largest_score_difference"]) == (1.0, 0.0)
    assert [Path(each["image"]).name for each in found["most"]] == ["two.png"]
    assert "only by A      1 face, of which B scored 1 too low" in mlcycle("model", "diff", *arguments).out


def test_what_cannot_be_read_exits_4_or_3(mlcycle, tmp_path):
    (tmp_path / "empty").mkdir()
    assert mlcycle("model", "diff", "face-nano", tmp_path / "missing.onnx").code == 4
    assert mlcycle("model", "diff", "face-nano", "face-base", "--images", tmp_path / "empty").code == 3
    assert mlcycle("model", "diff", "face-nano", "face-base", "--images", tmp_path / "missing").code == 3


def test_the_bytes_that_are_compared_are_those_that_answer(mlcycle, astronaut, monkeypatch):
    from mlcycle.inference import detect

    monkeypatch.setattr(detect, "read_sealed", lambda _: pytest.fail("a file was read once more"))
    assert mlcycle("model", "diff", "face-nano", "face-base", "--images", astronaut.parent).code == 0
