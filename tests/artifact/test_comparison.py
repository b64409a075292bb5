"""In what two model files differ: each section is named, with both values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from tiny_model import CONTRACT, unsealed_model

from mlcycle.artifact.comparison import differences, unequal_fields
from mlcycle.artifact.contract import Contract, Resize
from mlcycle.artifact.packing import pack
from mlcycle.artifact.self_test import SelfTest, known_answer


def file_with(
    weights: np.ndarray | None = None, contract: Contract = CONTRACT, test: SelfTest | None = None, extra: bool = False
) -> bytes:
    """Makes a model file that carries some weights more, which nothing uses."""
    model = unsealed_model()
    values = np.arange(12, dtype=np.float32).reshape(3, 4) if weights is None else weights
    model.graph.initializer.append(onnx.numpy_helper.from_array(values, "spare"))
    if extra:
        model.graph.node.append(onnx.helper.make_node("Identity", ["scores"], ["again"]))
    return pack(model, contract, test)


def told(one: bytes, other: bytes) -> list[str]:
    return [str(each) for each in differences(one, other)]


def test_equal_files_do_not_differ() -> None:
    assert told(file_with(), file_with()) == []


def test_weights_are_counted_and_the_farthest_is_named() -> None:
    changed = np.arange(12, dtype=np.float32).reshape(3, 4)
    changed[2, 1] += 0.25
    (line,) = told(file_with(), file_with(changed))
    assert line.startswith("weights: 1 of ")
    assert line.endswith("tensors differ, by at most 0.25, in spare")


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (np.arange(12, dtype=np.float32), "2 are in one of the files alone, or of another shape or type there"),
        (np.full((3, 4), np.nan, np.float32), "by at most inf, in spare"),
    ],
)
def test_odd_weights_are_told(other: np.ndarray, words: str) -> None:
    (line,) = told(file_with(), file_with(other))
    assert words in line


def test_operators_are_counted() -> None:
    assert told(file_with(), file_with(extra=True)) == ["graph: Identity 0 and 1 times"]


def test_contracts_are_compared_by_field() -> None:
    other = replace(CONTRACT, resize=Resize(long_side=320), training={"recipe": {"seed": 3}}, labels=("a", "b"))
    assert told(file_with(), file_with(contract=other)) == [
        'contract: labels is ["face"] and ["a", "b"]',
        "contract: resize.long_side is 640 and 320",
        'contract: training.recipe is "none: written by hand" and not there',
        "contract: training.recipe.seed is not there and 3",
    ]


def test_known_answers_are_compared_by_how_far_they_are_apart() -> None:
    boxes_34, scores_3 = np.array([[1, 2, 30, 40]] * 3, np.float32), np.array([0.5] * 3, np.float32)
    tests = [known_answer(boxes_34 + shift, scores_3, None) for shift in (0, [[0, 0.5, 0, 0]])]
    assert told(*(file_with(test=each) for each in tests)) == ["self-test: boxes differs by at most 0.5"]
    fewer = known_answer(boxes_34[:1], scores_3[:1], None)
    assert told(file_with(test=tests[0]), file_with(test=fewer)) == [
        f"self-test: boxes is {str([[1.0, 2.0, 30.0, 40.0]] * 3)[:60]}… and [[1.0, 2.0, 30.0, 40.0]]",
        "self-test: scores is [0.5, 0.5, 0.5] and [0.5]",
    ]
    assert told(file_with(), file_with(test=fewer))[0].startswith("self-test: ")


def test_what_is_long_is_cut_and_what_is_empty_is_a_value() -> None:
    assert unequal_fields({"a": {}}, {"a": {"b": "x" * 100}}) == [
        "a is {} and not there",
        f'a.b is not there and "{"x" * 59}…',
    ]
