"""The structure read from a model file's bytes without onnx, and the contents that such a file must not have."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mlcycle.artifact import admission, bundled
from mlcycle.artifact.admission import admit
from mlcycle.artifact.protobuf import BrokenMessageError
from mlcycle.artifact.seal import BLANK, SealedBytes, read_sealed, seal_bytes
from mlcycle.artifact.structure import structure_of
from mlcycle.errors import ModelFileError

onnx = pytest.importorskip("onnx")

from float_model import float_contract, float_model, self_test_of  # noqa: E402
from onnx import TensorProto, external_data_helper, helper, numpy_helper  # noqa: E402

from mlcycle.artifact.packing import pack  # noqa: E402


def sealed(model: onnx.ModelProto) -> SealedBytes:
    return SealedBytes(pack(model, float_contract()), "", Path("model.onnx"))


@pytest.mark.parametrize("name", bundled.names())
def test_the_structure_is_the_one_onnx_reads(name: str) -> None:
    data = (bundled.FOLDER / f"{name}.onnx").read_bytes()
    model, found = onnx.load_model_from_string(data), structure_of(data)
    assert found.ir_version == model.ir_version
    assert found.operators == Counter((node.domain, node.op_type) for node in model.graph.node)
    assert list(found.tensors) == [each.name for each in model.graph.initializer]
    for each in model.graph.initializer:
        mine, array = found.tensors[each.name], numpy_helper.to_array(each)
        assert (mine.shape, mine.type) == (array.shape, str(array.dtype))
        if each.raw_data:
            assert data[mine.begin : mine.end] == each.raw_data
    assert found.metadata == {entry.key: entry.value for entry in model.metadata_props}
    assert found.violations == []


def test_a_section_has_its_own_digest() -> None:
    model = float_model()
    before = structure_of(model.SerializeToString()).sections
    model.graph.initializer[3].raw_data = b"\x01" + model.graph.initializer[3].raw_data[1:]
    weights = structure_of(model.SerializeToString()).sections
    assert (weights["graph"], weights["weights"] != before["weights"]) == (before["graph"], True)
    model.graph.node[5].name = "another"
    graph = structure_of(model.SerializeToString()).sections
    assert (graph["weights"], graph["graph"] != before["graph"]) == (weights["weights"], True)
    model.metadata_props.add(key="somebody.else", value="anything")
    assert structure_of(model.SerializeToString()).sections == graph


def external(model: onnx.ModelProto) -> None:
    weights = model.graph.initializer[0]
    external_data_helper.set_external_data(weights, "weights.bin")
    weights.ClearField("raw_data")


def external_in_an_attribute(model: onnx.ModelProto) -> None:
    value = numpy_helper.from_array(np.zeros(3, np.float32), "v")
    external_data_helper.set_external_data(value, "/etc/passwd")
    value.data_location = TensorProto.EXTERNAL
    model.graph.node.append(helper.make_node("Constant", [], ["unread"], value=value))


def custom_operator(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Python", ["images"], ["unread"], domain="com.example"))


def custom_domain(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def loop(model: onnx.ModelProto) -> None:
    body = helper.make_graph([], "body", [], [])
    model.graph.node.append(helper.make_node("Loop", ["", ""], [], body=body))


def unlisted(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("RandomNormal", [], ["unread"], shape=[2]))


def function(model: onnx.ModelProto) -> None:
    model.functions.append(helper.make_function("here", "f", [], [], [], []))


def sparse(model: onnx.ModelProto) -> None:
    values, places = (
        numpy_helper.from_array(np.ones(1, np.float32), "s"),
        numpy_helper.from_array(np.zeros(1, np.int64)),
    )
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [4]))


def much_metadata(model: onnx.ModelProto) -> None:
    model.graph.doc_string = ""
    model.metadata_props.add(key="note", value="x" * (1 << 20))


def from_the_future(model: onnx.ModelProto) -> None:
    model.ir_version = 99


def old_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 17


def no_opset(model: onnx.ModelProto) -> None:
    del model.opset_import[:]


def two_opsets(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("ai.onnx", 17))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (old_opset, "opset 17 .the oldest is 18"),
        (no_opset, "opset 0 .the oldest is 18"),
        (two_opsets, "two versions of one opset"),
        (external, "external data"),
        (external_in_an_attribute, "external data"),
        (custom_operator, "operators of the domain com.example"),
        (custom_domain, "operators of the domain com.microsoft"),
        (loop, "a nested graph"),
        (unlisted, "the operator RandomNormal"),
        (function, "functions"),
        (sparse, "sparse weights"),
        (much_metadata, "bytes of metadata"),
        (from_the_future, "IR version 99"),
    ],
)
def test_forbidden_contents_are_refused_by_name(spoil: object, words: str) -> None:
    model = float_model()
    admit(sealed(model))
    spoil(model)  # type: ignore[operator]
    with pytest.raises(ModelFileError, match=words) as caught:
        admit(SealedBytes(model.SerializeToString(), "", Path("model.onnx")))
    assert caught.value.hint


def test_untrusted_names_are_escaped_in_errors() -> None:
    model = float_model()
    model.graph.node.append(helper.make_node("\x1b[31mRed", ["images"], ["unread"]))
    with pytest.raises(ModelFileError) as caught:
        admit(sealed(model))
    assert "\x1b" not in caught.value.message


def test_invalid_bytes_raise_an_error_and_never_crash() -> None:
    random.seed(0)
    valid = pack(float_model(), float_contract())
    for _ in range(300):
        spoilt = bytearray(valid[: random.choice((200, 5000, len(valid)))])
        for _ in range(random.randint(1, 4)):
            spoilt[random.randrange(min(len(spoilt), 4000))] = random.randrange(256)
        try:
            admit(SealedBytes(bytes(spoilt), "", Path("x.onnx")))
        except ModelFileError:
            continue
    for data in (b"", b"\x08", b"\xff" * 40, b"\x3a\xff\xff\xff\xff\x0f", b"GIF89a" * 9):
        with pytest.raises(ModelFileError):
            admit(SealedBytes(data, "", Path("x.onnx")))
    with pytest.raises(BrokenMessageError):
        structure_of(b"\x0b\x0c")


def test_the_operators_of_a_frozen_model_are_allowed() -> None:
    used = {operator for _, operator in structure_of(read_sealed(Path("face-base")).data).operators}
    assert used <= admission.OPERATORS
    assert {operator for operator in admission.OPERATORS if not onnx.defs.has(operator)} == set()


def places_of(data: bytes) -> dict[str, int]:
    """Returns section → the offset of one of its bytes."""
    found = structure_of(data)
    largest = max(found.tensors.values(), key=lambda each: each.end - each.begin)
    return {
        "weights": (largest.begin + largest.end) // 2,
        "graph": data.index(b"NonMaxSuppression"),
        "contract": data.index(b'"box_order"') + 14,
        "self-test": data.index(b'"scores":[') + 14,
        "list of digests": data.index(b'"weights":"', data.index(b"mlcycle.sections")) + 30,
        "seal": len(data) - 20,
    }


@pytest.fixture(scope="module")
def whole() -> bytes:
    model = float_model()
    return pack(model, float_contract(), self_test_of(model))


@pytest.mark.parametrize("section", ["weights", "graph", "contract", "self-test", "list of digests", "seal"])
def test_a_flipped_bit_is_refused_and_its_section_is_named(section: str, whole: bytes, tmp_path: Path) -> None:
    spoilt = bytearray(whole)
    spoilt[places_of(whole)[section]] ^= 1
    (tmp_path / "model.onnx").write_bytes(spoilt)
    with pytest.raises(ModelFileError, match=f"is damaged: what differs is its {section}"):
        read_sealed(tmp_path / "model.onnx")


def test_damage_outside_the_sections_and_in_older_files_is_reported(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    begin = whole.index(b"mlcycle.contract") - 6
    path.write_bytes(whole[:begin] + b"\xff\xff" + whole[begin + 2 :])
    with pytest.raises(ModelFileError, match="its structure cannot be read"):
        read_sealed(path)
    older = float_model()
    older.metadata_props.add(key="mlcycle.contract", value=float_contract().to_json())
    older.metadata_props.add(key="mlcycle.seal", value=BLANK.decode())
    spoilt = bytearray(seal_bytes(older.SerializeToString()))
    spoilt[len(spoilt) // 2] ^= 1
    path.write_bytes(spoilt)
    with pytest.raises(ModelFileError, match="do not match its seal"):
        read_sealed(path)
