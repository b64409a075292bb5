"""A file of decisions is read strictly: it can uncover faces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlcycle.errors import InputError
from mlcycle.inference.record import Record
from mlcycle.redacting import decisions
from mlcycle.redacting.decisions import Decision


def document(**changes: Any) -> dict[str, Any]:
    image = {"input": "a.jpg", "part": 0, "digest": "d", "accepted": True, "removed": [2, 1], "added": [[0, 0, 5, 5.5]]}
    top = {name: changes.pop(name) for name in ("format", "schema_version", "run", "images", "more") if name in changes}
    whole = {"format": "mlcycle-decisions", "schema_version": 1, "run": "r", "images": [image | changes]}
    return whole | top


def read(path: Path, values: Any) -> decisions.DecisionFile:
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    return decisions.read(path)


def test_a_file_as_the_page_saves_it(tmp_path: Path) -> None:
    file = read(tmp_path / "d.json", document())
    (image,) = file.images
    assert (file.run, image.identity, image.digest) == ("r", (b"a.jpg", 0), "d")
    assert image.decision == Decision(True, (1, 2), ((0, 0, 5, 5.5),))
    odd = read(tmp_path / "d.json", json.dumps(document(input="\udcff.jpg")))
    assert odd.images[0].identity == (b"\xff.jpg", 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "other"}, {"schema_version": 2}, {"schema_version": True}, {"run": 1}, {"images": {}}, {"more": 1},
        {"input": 1}, {"input": "\ud800.jpg"}, {"part": -1}, {"part": True}, {"digest": None}, {"accepted": 1},
        {"other": 1}, {"removed": [0]}, {"removed": [1, 1]}, {"removed": [1.0]}, {"removed": {}}, {"removed": [True]},
        {"added": [[0, 0, 1]]}, {"added": [[0, 0, 1, "1"]]}, {"added": [[0, 0, 1, None]]}, {"added": [0, 0, 1, 1]},
        {"added": [[0, 0, 1, 1]] * 1001}, {"images": [document()["images"][0]] * 2}, {"images": [1]},
    ],
    ids=str,
)  # fmt: skip
def test_anything_else_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"not a file that review\.html has saved"):
        read(tmp_path / "d.json", document(**changes))


@pytest.mark.parametrize("text", ["", "[", "null", "[]", '{"run": 1, "run": 1}', "[" * 100_000, "\udcff"])
def test_what_is_not_such_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "d.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=r"not a file that review\.html has saved"):
        decisions.read(tmp_path / "d.json")


def test_numbers_beyond_json_are_refused(tmp_path: Path) -> None:
    for number in ("NaN", "Infinity", "1e999"):
        with pytest.raises(InputError, match="not finite"):
            read(tmp_path / "d.json", json.dumps(document()).replace("5.5", number))


def test_a_missing_or_huge_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        decisions.read(tmp_path / "none.json")
    monkeypatch.setattr(decisions, "MAX_BYTES", 10)
    with pytest.raises(InputError, match="too large"):
        read(tmp_path / "d.json", document())


@pytest.mark.parametrize(
    ("decision", "why"),
    [
        (Decision(removed=(1,)), "no such region"),
        (Decision(added=((0, 0, 11, 5),)), "inside"),
        (Decision(added=((-1, 0, 1, 5),)), "inside"),
        (Decision(added=((3, 0, 3, 5),)), "inside"),
        (Decision(added=((3, 5, 6, 4),)), "inside"),
    ],
)
def test_a_decision_must_fit_its_image(decision: Decision, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        decision.must_fit(Record("a.jpg", width=10, height=8))
    Decision(added=((0, 0, 10, 8),)).must_fit(Record("a.jpg", width=10, height=8))
