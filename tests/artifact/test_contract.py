"""The contract's text: canonical, parsed without loss, and refused if it has another format."""

from __future__ import annotations

import json

import pytest
from tiny_model import CONTRACT

from mlcycle.artifact.contract import FORMAT, from_json
from mlcycle.errors import ModelFileError


def test_the_text_is_canonical_and_parsed_without_loss() -> None:
    text = CONTRACT.to_json()
    assert from_json(text) == CONTRACT
    assert from_json(json.dumps(json.loads(text), indent=3)).to_json() == text


@pytest.mark.parametrize(
    ("number", "hint"), [(FORMAT + 1, "install a newer mlcycle"), (0, "freeze the model again"), ("1", "freeze")]
)
def test_another_format_is_refused_with_a_hint(number: object, hint: str) -> None:
    with pytest.raises(ModelFileError, match="has format") as caught:
        from_json(json.dumps({"format": number}))
    assert hint in caught.value.hint


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '"format"', '{"format": 1}', '{"format": 1, "resize": 3}'])
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(ModelFileError):
        from_json(text)


def test_nan_and_infinity_are_refused() -> None:
    text = CONTRACT.to_json()
    for word in ("NaN", "Infinity", "-Infinity"):
        with pytest.raises(ModelFileError, match="cannot be read"):
            from_json(text.replace('"balanced":0.5', f'"balanced":{word}'))
