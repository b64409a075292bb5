"""JSON in an untrusted model file: it is parsed unambiguously, or refused with a clear error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Outcome
from hostile_files import (
    AMBIGUOUS_JSON,
    CONTRACT_JSON,
    DEEP,
    SELF_TEST,
    SELF_TEST_JSON,
    WRONG_TYPES,
    WRONG_TYPES_IN_SELF_TEST,
    changed,
    hostile_files,
)
from tiny_model import tiny_bytes, unsealed_model

from mlcycle.artifact import contract, self_test, strict_json
from mlcycle.artifact.seal import SealedBytes, seal_bytes
from mlcycle.artifact.structure import damage_of
from mlcycle.errors import ModelFileError
from mlcycle.inference.detect import load_sealed


def test_every_hostile_file_is_refused() -> None:
    """The page's reader gets the same files, in test_web_modules."""
    admitted = []
    for name, data in hostile_files().items():
        try:
            load_sealed(SealedBytes(data, "", Path("model.onnx")), provider="cpu", threads=1)
            admitted.append(name)
        except ModelFileError:
            pass
    assert admitted == [""]


@pytest.mark.parametrize("text", AMBIGUOUS_JSON.values(), ids=AMBIGUOUS_JSON)
def test_ambiguous_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        strict_json.loads(text)


def test_other_json_is_parsed_as_usual() -> None:
    text = '{"a": [1, 2.5, {"b": null}], "c": "\\u00e9", "d": 1e3}'
    assert strict_json.loads(text) == json.loads(text)


@pytest.mark.parametrize(("path", "value"), WRONG_TYPES)
def test_a_contract_with_values_of_the_wrong_type_is_refused(path: str, value: object) -> None:
    with pytest.raises(ModelFileError) as caught:
        contract.from_json(changed(CONTRACT_JSON, path, value))
    assert len(caught.value.message) < 200
    assert caught.value.hint


@pytest.mark.parametrize(("path", "value"), WRONG_TYPES_IN_SELF_TEST)
def test_a_self_test_with_values_of_the_wrong_type_is_refused(path: str, value: object) -> None:
    with pytest.raises(ModelFileError, match="self-test") as caught:
        self_test.from_json(changed(SELF_TEST_JSON, path, value))
    assert caught.value.hint


@pytest.mark.parametrize("text", [DEEP, '{"format":1,"format":2}', '{"format":1e999}', '{"height":Infinity}'])
def test_neither_is_parsed_from_invalid_json(text: str) -> None:
    for read in (contract.from_json, self_test.from_json):
        with pytest.raises(ModelFileError, match="cannot be read"):
            read(text)
    assert self_test.from_json(SELF_TEST.to_json()) == SELF_TEST


@pytest.mark.parametrize("text", [DEEP, '["weights","graph","contract"]', '{"weights":1}', "3"])
def test_invalid_section_digests_name_no_section(text: str) -> None:
    model = unsealed_model()
    model.metadata_props.insert(1, type(model.metadata_props[0])(key="mlcycle.sections", value=text))
    assert damage_of(model.SerializeToString()).sentence in ("its metadata differ", "its bytes do not match its seal")


@pytest.mark.parametrize("command", ["verify", "inspect", "selftest"])
@pytest.mark.parametrize(
    "text", [DEEP, changed(CONTRACT_JSON, "thresholds", 3), changed(CONTRACT_JSON, "resize.long_side", [1])]
)
def test_every_command_reports_an_invalid_contract_in_a_sentence(
    command: str, text: str, mlcycle: Callable[..., Outcome], tmp_path: Path
) -> None:
    path = tmp_path / "hostile.onnx"
    path.write_bytes(tiny_bytes(contract_json=text))
    outcome = mlcycle("model", command, path)
    assert (outcome.code, outcome.out) == (4, "")
    assert outcome.err.startswith("error: the model file's contract ")


def test_verify_refuses_an_invalid_self_test(mlcycle: Callable[..., Outcome], tmp_path: Path) -> None:
    model = unsealed_model()
    model.metadata_props.insert(1, type(model.metadata_props[0])(key="mlcycle.self_test", value=DEEP))
    (tmp_path / "hostile.onnx").write_bytes(seal_bytes(model.SerializeToString()))
    outcome = mlcycle("model", "verify", tmp_path / "hostile.onnx")
    assert (outcome.code, "self-test cannot be read" in outcome.err) == (4, True)
