"""`benchmarks/suspects.py`: how boxes are corrupted, and when they count as found."""

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


def test_a_quarter_of_the_boxes_is_corrupted_in_each_way_and_nothing_else_changes(painted):
    before = read(painted)
    after, corrupted = suspects.corrupt([(each, (WIDTH, HEIGHT)) for each in before], 1 / 3, seed=3)
    assert [each.kind for each in corrupted] == [kind for kind in suspects.KINDS for _ in range(4)]
    changed = {each.image: sum(other.image == each.image for other in corrupted) for each in corrupted}
    for index, (one, other) in enumerate(zip(before, after, strict=True)):
        unchanged = {tuple(box) for box in one.boxes_N4.tolist()} & {tuple(box) for box in other.boxes_N4.tolist()}
        assert len(unchanged) >= len(one.boxes_N4) - changed.get(index, 0)
        assert len(other.boxes_N4) == len(other.ignore_N) == len(other.landmarks_N52)
    for each in corrupted:
        if each.kind == "invented":
            others = [other.true_4 for other in corrupted if other.image == each.image and other.kind == "deleted"]
            labels_N4 = np.array([*before[each.image].boxes_N4, *others])
            assert matching.intersections(each.wrong_4[None], labels_N4).max() == 0
        elif each.kind != "deleted":
            overlap = matching.overlaps(each.wrong_4[None], each.true_4[None], np.zeros(1, bool))[0, 0]
            assert overlap == pytest.approx(1 / 1.6**2) if each.kind == "resized" else 0.4 < overlap < 0.51


def test_a_perfect_detector_finds_all_corrupted_boxes(painted, tmp_path, capsys, monkeypatch):
    model = write_tiny_model(tmp_path / "tiny.onnx")
    words = ["suspects.py", model, "--data", painted, "--images", 20, "--seeds", 1, "--share", 0.1, "--workers", 1]
    monkeypatch.setattr("sys.argv", [str(each) for each in words])
    suspects.main()
    printed = capsys.readouterr().out
    assert re.match(r"all: 20 images, 40 labels: 100\.0% found in the first 4 rows", printed), printed


def test_validation_images_of_sets_trained_on_count_as_new(painted):
    new, known = suspects.gather([], [str(painted)], 0.3)
    assert len(new) + len(known) == 24
    assert 2 <= len(new) <= 14
    assert suspects.gather([str(painted)], [], 0.3)[1] == []
