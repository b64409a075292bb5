"""`benchmarks/suspects.py`: what is spoilt, and what counts as found."""

from __future__ import annotations

import re

import numpy as np
import pytest
from painted_set import HEIGHT, WIDTH, write_painted
from scripts import suspects
from tiny_model import write_tiny_model

from mlcycle.datasets.reading import read
from mlcycle.evaluation import matching


@pytest.fixture(scope="module")
def painted(tmp_path_factory):
    return write_painted(tmp_path_factory.mktemp("painted") / "set", 24)


def test_a_quarter_is_spoilt_in_each_way_and_nothing_else_changes(painted):
    before = read(painted)
    after, done = suspects.spoil([(each, (WIDTH, HEIGHT)) for each in before], 1 / 3, seed=3)
    assert [each.way for each in done] == [way for way in suspects.WAYS for _ in range(4)]
    gone = {each.image: sum(other.image == each.image for other in done) for each in done}
    for at, (one, other) in enumerate(zip(before, after, strict=True)):
        same = {tuple(box) for box in one.boxes_N4.tolist()} & {tuple(box) for box in other.boxes_N4.tolist()}
        assert len(same) >= len(one.boxes_N4) - gone.get(at, 0)
        assert len(other.boxes_N4) == len(other.ignore_N) == len(other.landmarks_N52)
    for each in done:
        if each.way == "invented":
            others = [other.true_4 for other in done if other.image == each.image and other.way == "deleted"]
            labels_N4 = np.array([*before[each.image].boxes_N4, *others])
            assert matching.intersections(each.wrong_4[None], labels_N4).max() == 0
        elif each.way != "deleted":
            overlap = matching.overlaps(each.wrong_4[None], each.true_4[None], np.zeros(1, bool))[0, 0]
            assert overlap == pytest.approx(1 / 1.6**2) if each.way == "resized" else 0.4 < overlap < 0.51


def test_a_detector_that_knows_finds_all(painted, tmp_path, capsys, monkeypatch):
    model = write_tiny_model(tmp_path / "tiny.onnx")
    words = ["suspects.py", model, "--data", painted, "--images", 20, "--seeds", 1, "--share", 0.1, "--workers", 1]
    monkeypatch.setattr("sys.argv", [str(each) for each in words])
    suspects.main()
    said = capsys.readouterr().out
    assert re.match(r"all: 20 images, 40 labels: 100\.0% found in the first 4 rows", said), said


def test_of_studied_sets_those_held_out_are_taken_first(painted):
    fresh, known = suspects.gather([], [str(painted)], 0.3)
    assert len(fresh) + len(known) == 24
    assert 2 <= len(fresh) <= 14
    assert suspects.gather([str(painted)], [], 0.3)[1] == []
