"""`mlcycle train profile`: what it finds belongs to real steps, and nothing is left of them but the trace."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from mlcycle.errors import DataError, InputError  # noqa: E402
from mlcycle.training.progress.stopwatch import Stopwatch  # noqa: E402
from mlcycle.training.recipes.recipe_file import load  # noqa: E402
from mlcycle.training.studies import loader_profile, profiling  # noqa: E402

pytestmark = pytest.mark.training
pytest_plugins = ("small_run",)

PARTS = [
    "waiting for data", "copying to the device", "augmentation", "forward", "assignment and losses", "backward",
    "clipping", "optimizer", "ema",
]  # fmt: skip


@pytest.fixture(scope="module")
def profiled(recipe_path: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[profiling.Profile, Path]:
    """What is found in a few steps of small crops, each turned and compressed; and the folder of the trace."""
    folder = tmp_path_factory.mktemp("profile")
    values = ["schedule.workers=0", "schedule.accumulation=2", "augment.jpeg=1", "augment.rotate=1"]
    recipe = load(recipe_path, values)
    trace = folder / "trace.json.gz"
    found = profiling.profile(recipe, trace, steps=4, warm_up=1, device="cpu", say=lambda text: None)
    return found, folder


def test_the_parts_are_all_of_a_step_in_their_order(profiled: tuple[profiling.Profile, Path]) -> None:
    found, _ = profiled
    assert list(found.parts) == [*PARTS, "rest"]
    assert sum(found.parts.values()) == pytest.approx(found.step)
    assert min(found.parts[name] for name in PARTS) > 0


def test_rounds_count_what_they_did(profiled: tuple[profiling.Profile, Path]) -> None:
    found, _ = profiled
    assert (found.accumulation, found.readers, len(found.rounds)) == (2, 0, 4)
    for each in found.rounds:
        assert (each.images, each.bare_flops) == (4, each.flops)
        assert 0 < each.waiting < each.seconds
    assert found.rate("flops") / found.rate("images") == pytest.approx(found.rounds[0].flops / 4)


def test_a_step_of_large_crops_counts_by_its_arithmetic() -> None:
    # As quick as the bare step, at a quarter of the images of four times the pixels.
    large = profiling.Round(seconds=2.0, waiting=0.0, bare_seconds=2.0, images=8, flops=3200, bare_flops=3200)
    assert large.share == 1


def test_the_trace_has_every_part_within_every_step(profiled: tuple[profiling.Profile, Path]) -> None:
    _, folder = profiled
    assert [path.name for path in folder.iterdir()] == ["trace.json.gz"]
    events = json.loads(gzip.decompress((folder / "trace.json.gz").read_bytes()))["traceEvents"]
    spans = [each for each in events if each.get("cat") == "user_annotation"]
    steps = [each for each in spans if each["name"] == "step"]
    assert len(steps) == profiling.TRACED
    for step in steps:
        inside = [
            each["name"]
            for each in spans
            if step["ts"] < each["ts"] and each["ts"] + each["dur"] <= step["ts"] + step["dur"]
        ]
        assert set(PARTS) <= set(inside)
        assert (inside.count("backward"), inside.count("optimizer")) == (2, 1)
    assert any("conv" in each["name"] for each in events)


def test_operators_are_those_of_torch_and_no_parts(profiled: tuple[profiling.Profile, Path]) -> None:
    names = [each.name for each in profiled[0].operators]
    assert not {*PARTS, "step"} & set(names)
    assert "aten::convolution_backward" in names
    assert [each.seconds for each in profiled[0].operators] == sorted(
        (o.seconds for o in profiled[0].operators), reverse=True
    )


def test_reading_has_a_time_for_all_that_was_done(profiled: tuple[profiling.Profile, Path]) -> None:
    reading = profiled[0].reading
    assert list(reading) == [loader_profile.READING, *loader_profile.PARTS, loader_profile.REST]
    assert min(reading.values()) > 0


def test_what_is_decoded_is_read_and_a_reader_beside_is_one_round(
    recipe_path: Path, labelled_set: Path, tmp_path: Path
) -> None:
    values = ["schedule.workers=1", f"data.decoded={tmp_path / 'decoded'}"]
    trace = tmp_path / "trace.json"
    trace.write_text("old")
    found = profiling.profile(load(recipe_path, values), trace, steps=2, warm_up=1, device="cpu", say=lambda text: None)
    assert (found.readers, len(found.rounds), found.rounds[0].images) == (1, 1, 8)
    assert found.reading[loader_profile.READING] > 0
    assert json.loads(trace.read_text())["traceEvents"]
    assert {path.name for path in tmp_path.iterdir()} == {"decoded", "trace.json"}


def test_an_image_that_cannot_be_read_is_named(recipe_path: Path, tmp_path: Path, monkeypatch) -> None:
    def broken(*arguments, **named):
        raise DataError("the image a.jpg cannot be read")

    monkeypatch.setattr("mlcycle.training.data.samples.cut", broken)
    with pytest.raises(DataError, match=r"a\.jpg"):
        profiling.profile(
            load(recipe_path, ["schedule.workers=0"]), tmp_path / "t.json",
            steps=1, warm_up=1, device="cpu", say=lambda text: None,
        )  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_a_stopwatch_adds_up_each_name_also_within_another() -> None:
    watch = Stopwatch(torch.device("cpu"))
    for _ in range(2):
        with watch.stretch("outer"), watch.stretch("inner"):
            sum(range(10_000))
    assert list(watch.seconds) == ["inner", "outer"]
    assert 0 < watch.seconds["inner"] < watch.seconds["outer"]


def test_the_trace_is_not_replaced_unless_told_and_has_a_known_suffix(mlcycle, recipe_path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trace.json.gz").write_text("mine")
    refused = mlcycle("train", "profile", str(recipe_path))
    assert refused.code == 3
    assert "trace.json.gz exists" in refused.err
    assert (tmp_path / "trace.json.gz").read_text() == "mine"
    assert mlcycle("train", "profile", str(recipe_path), "--trace", "trace.txt").code == 2
    assert mlcycle("train", "profile", str(recipe_path), "--trace", "no/where.json").code == 3


def test_the_command_prints_tables_and_where_the_trace_lies(mlcycle, recipe_path, profiled, tmp_path, monkeypatch):
    def found(recipe, trace, **asked):
        assert (recipe.schedule.workers, str(trace)) == (0, "trace.json")
        assert (asked["steps"], asked["warm_up"], asked["device"]) == (2, 1, "cpu")
        return profiled[0]

    monkeypatch.setattr(profiling, "profile", found)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trace.json").write_text("old")
    printed = mlcycle(
        "train", "profile", str(recipe_path), "schedule.workers=0", "--steps", "2", "--warm-up", "1",
        "--device", "cpu", "--trace", "trace.json", "--overwrite",
    )  # fmt: skip
    assert printed.code == 0
    lines = printed.out.splitlines()
    for name in (*PARTS, "rest", "together", "aten::convolution_backward", loader_profile.READING):
        assert any(line.startswith(name) for line in lines), name
    assert "FLOP/s, waiting for data" in printed.out
    assert "share of the bare step's FLOP/s" in printed.out
    assert lines[-1] == "trace.json"


def test_a_trace_that_torch_could_not_write_is_said(tmp_path: Path) -> None:
    class FullDisk:
        def export_chrome_trace(self, path: str) -> None:
            Path(f"{path}.tmp").touch()

    with pytest.raises(InputError, match=r"trace\.json cannot be written"):
        profiling._write_trace(FullDisk(), tmp_path / "trace.json")
    assert not list(tmp_path.iterdir())
