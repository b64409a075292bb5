"""JSON in an untrusted model file: it is parsed unambiguously, or refused with a clear error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Outcome
from tiny_model import CONTRACT, tiny_bytes, unsealed_model

from mlcycle.artifact import contract, self_test, strict_json
from mlcycle.artifact.seal import seal_bytes
from mlcycle.artifact.self_test import EXACT, LOOSE, MAX_EXPECTED_ROWS, SelfTest
from mlcycle.artifact.structure import damage_of
from mlcycle.errors import ModelFileError

DEEP = "[" * 100_000
CONTRACT_JSON = json.loads(CONTRACT.to_json())
SELF_TEST = SelfTest(((1.0, 1.0, 9.0, 9.0),) * 2, (0.9, 0.8), (((1.0, 2.0),) * 5,) * 2, EXACT, LOOSE)
SELF_TEST_JSON = json.loads(SELF_TEST.to_json())


@pytest.mark.parametrize(
    "text",
    [DEEP, '{"a":' * 60 + "1" + "}" * 60, '{"a":1,"a":2}', "[NaN]", "[-Infinity]", "[1e999]", f"[{'9' * 5000}]", "{"],
    ids=["deep", "too deep", "repeated key", "NaN", "infinite", "too large", "too long", "truncated"],
)
def test_ambiguous_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        strict_json.loads(text)


def test_other_json_is_parsed_as_usual() -> None:
    text = '{"a": [1, 2.5, {"b": null}], "c": "\\u00e9", "d": 1e3}'
    assert strict_json.loads(text) == json.loads(text)


def changed(base: dict[str, Any], path: str, value: object) -> str:
    whole = json.loads(json.dumps(base))
    *above, last = path.split(".")
    place = whole
    for name in above:
        place = place[name]
    place[last] = value
    return json.dumps(whole)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", 3),
        ("name", "a\x1b[31mb"),
        ("name", "two\nlines"),
        ("name", "x" * 1000),
        ("labels", "face"),
        ("labels", [["face"]]),
        ("landmarks", {"left_eye": 1}),
        ("landmarks", ["left\x07eye"]),
        ("thresholds", [0.5]),
        ("thresholds", {"balanced": "0.5"}),
        ("thresholds", {"balanced": True}),
        ("thresholds", {"balanced": 0.5, "a\x1bb": 0.6}),
        ("thresholds", {"balanced": 10**400}),
        ("resize.long_side", "640"),
        ("resize.long_side", 640.5),
        ("resize.long_side", 0),
        ("resize.long_side", -640),
        ("resize.long_side", 10**30),
        ("selection.score_floor", "0"),
        ("selection.max_faces", [2]),
        ("selection.max_faces", 0),
        ("reduced_jpeg", "2"),
        ("parent", 5),
        ("precision", None),
        ("input_size", {"width": 64, "height": "64"}),
        ("input_size", {"width": 64, "height": -64}),
        ("input_size", 0),
        ("resize", []),
        ("resize", {"long_side": 640, "x" * 1000: 1}),
        ("format", True),
        ("format", [[1]]),
    ],
)
def test_a_contract_with_values_of_the_wrong_type_is_refused(path: str, value: object) -> None:
    with pytest.raises(ModelFileError) as caught:
        contract.from_json(changed(CONTRACT_JSON, path, value))
    assert len(caught.value.message) < 200
    assert caught.value.hint


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("boxes", [[1, 1, 9, 9]]),
        ("boxes", [[1, 1, 9], [1, 1, 9]]),
        ("boxes", [[1, 1, 9, 9], [1, 1, 9]]),
        ("boxes", [["nan", 1, 9, 9]] * 2),
        ("boxes", [1, 2]),
        ("scores", {"0": 1}),
        ("scores", [0.9] * (MAX_EXPECTED_ROWS + 1)),
        ("landmarks", [[[1, 2, 3]]] * 2),
        ("landmarks", [[[1, 2]], []]),
        ("tolerance", {"pixels": "inf", "score": 1}),
        ("tolerance", {"pixels": True, "score": 1}),
        ("tolerance", [1, 1]),
        ("height", 10**400),
        ("height", -192),
        ("width", 10**6),
        ("width", "192"),
        ("seed", None),
        ("seed", 1.5),
        ("formula", ["drawn-faces-1"]),
    ],
)
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
