"""`mlcycle train profile`: it measures real steps, and writes only the trace."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from mlcycle.errors import DataError, InputError, UsageError  # noqa: E402
from mlcycle.training import memory  # noqa: E402
from mlcycle.training.data.training_data import load_training_data  # noqa: E402
from mlcycle.training.distributed.process_group import ProcessGroup  # noqa: E402
from mlcycle.training.progress.stopwatch import Stopwatch  # noqa: E402
from mlcycle.training.recipes.recipe_file import load  # noqa: E402
from mlcycle.training.studies import loader_profile, profiling  # noqa: E402

pytestmark = pytest.mark.training
pytest_plugins = ("small_run",)

PARTS = [
    "waiting for data", "copying to the device", "augmentation", "forward", "assignment and losses", "backward",
    "clipping", "optimizer", "ema",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _two_steps_are_traced() -> Iterator[None]:
    """Fewer than by default: torch takes a second to write down the operators of each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profiling, "TRACED", 2)
        yield


@pytest.fixture(scope="module")
def profiled(recipe_path: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[profiling.Profile, Path]:
    """The profile of a few steps with small rotated and compressed crops, and the folder of the trace."""
    folder = tmp_path_factory.mktemp("profile")
    values = ["schedule.workers=0", "schedule.accumulation=2", "augment.jpeg=1", "augment.rotate=1"]
    recipe = load(recipe_path, values)
    trace = folder / "trace.json.gz"
    found = profiling.profile(recipe, trace, steps=4, warmup=1, device="cpu", say=lambda text: None)
    return found, folder


@pytest.mark.slow
def test_parts_add_up_to_a_step_in_order(profiled: tuple[profiling.Profile, Path]) -> None:
    found, _ = profiled
    assert list(found.parts) == [*PARTS, "rest"]
    assert sum(found.parts.values()) == pytest.approx(found.step)
    assert min(found.parts[name] for name in PARTS) > 0


@pytest.mark.slow
def test_rounds_count_images_and_flops(profiled: tuple[profiling.Profile, Path]) -> None:
    found, _ = profiled
    assert (found.accumulation, found.readers, len(found.rounds)) == (2, 0, 4)
    for each in found.rounds:
        assert (each.images, each.bare_flops) == (4, each.flops)
        assert 0 < each.waiting < each.seconds
    assert found.rate("flops") / found.rate("images") == pytest.approx(found.rounds[0].flops / 4)


def test_share_of_the_bare_step_is_by_flops() -> None:
    # As fast as the bare step, with a quarter of the images at four times the pixels.
    large = profiling.Round(seconds=2.0, waiting=0.0, bare_seconds=2.0, images=8, flops=3200, bare_flops=3200)
    assert large.share == 1


@pytest.mark.slow
def test_trace_has_every_part_in_every_step(profiled: tuple[profiling.Profile, Path]) -> None:
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


@pytest.mark.slow
def test_operators_are_torchs_without_parts(profiled: tuple[profiling.Profile, Path]) -> None:
    names = [each.name for each in profiled[0].operators]
    assert not {*PARTS, "step"} & set(names)
    assert "aten::convolution_backward" in names
    assert [each.seconds for each in profiled[0].operators] == sorted(
        (o.seconds for o in profiled[0].operators), reverse=True
    )


@pytest.mark.slow
def test_reading_has_a_time_for_each_part(profiled: tuple[profiling.Profile, Path]) -> None:
    reading = profiled[0].reading
    assert list(reading) == [loader_profile.READING, *loader_profile.PARTS, loader_profile.REST]
    assert min(reading.values()) > 0


@pytest.mark.slow
def test_decoded_cache_is_read_and_loader_processes_give_one_round(
    recipe_path: Path, labelled_set: Path, tmp_path: Path
) -> None:
    values = ["schedule.workers=1", f"data.decoded={tmp_path / 'decoded'}"]
    trace = tmp_path / "trace.json"
    trace.write_text("old")
    found = profiling.profile(load(recipe_path, values), trace, steps=2, warmup=1, device="cpu", say=lambda text: None)
    assert (found.readers, len(found.rounds), found.rounds[0].images) == (1, 1, 8)
    assert found.reading[loader_profile.READING] > 0
    assert json.loads(trace.read_text())["traceEvents"]
    assert {path.name for path in tmp_path.iterdir()} == {"decoded", "trace.json"}


def test_unreadable_image_is_named(recipe_path: Path, tmp_path: Path, monkeypatch) -> None:
    def broken(*arguments, **named):
        raise DataError("the image a.jpg cannot be read")

    monkeypatch.setattr("mlcycle.training.data.samples.cut", broken)
    with pytest.raises(DataError, match=r"a\.jpg"):
        profiling.profile(
            load(recipe_path, ["schedule.workers=0"]), tmp_path / "t.json",
            steps=1, warmup=1, device="cpu", say=lambda text: None,
        )  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_small_batches_of_several_sizes_are_collated_step_by_step(recipe_path: Path, monkeypatch) -> None:
    values = ["schedule.batch=3", "augment.large=0.5", "schedule.workers=0"]
    recipe = load(recipe_path, values)
    trial = profiling.TrialTraining(
        recipe, load_training_data(recipe.data), torch.device("cpu"), steps=9, say=lambda text: None
    )
    sides = [{key.side for key in part} for part in trial.steps]
    assert all(len(each) == 1 for each in sides)
    assert len(set.union(*sides)) == 2
    assert min(trial.reading().values()) >= 0


def test_a_profile_that_fails_leaves_no_trace_in_the_way_of_another(recipe_path: Path, tmp_path: Path, monkeypatch):
    def broken(*arguments):
        raise DataError("the image a.jpg cannot be read")

    monkeypatch.setattr(profiling, "reading_costs", broken)
    recipe = load(recipe_path, ["schedule.workers=0"])
    with pytest.raises(DataError):
        profiling.profile(recipe, tmp_path / "t.json", steps=1, warmup=1, device="cpu", say=lambda text: None)
    assert not list(tmp_path.iterdir())


def test_parts_without_images_are_refused(recipe_path: Path) -> None:
    recipe = load(recipe_path, ["schedule.batch=2", "schedule.accumulation=2"])
    with pytest.raises(UsageError, match="cannot be split"):
        memory.accumulation_for(recipe, torch.device("cpu"), ProcessGroup())


def test_stopwatch_adds_up_nested_names() -> None:
    watch = Stopwatch(torch.device("cpu"))
    for _ in range(2):
        with watch.measure("outer"), watch.measure("inner"):
            sum(range(10_000))
    assert list(watch.seconds) == ["inner", "outer"]
    assert 0 < watch.seconds["inner"] < watch.seconds["outer"]


def test_trace_is_replaced_only_with_overwrite_and_needs_a_known_suffix(mlcycle, recipe_path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trace.json.gz").write_text("mine")
    refused = mlcycle("train", "profile", str(recipe_path))
    assert refused.code == 3
    assert "trace.json.gz already exists" in refused.err
    assert (tmp_path / "trace.json.gz").read_text() == "mine"
    assert mlcycle("train", "profile", str(recipe_path), "--trace", "trace.txt").code == 2
    assert mlcycle("train", "profile", str(recipe_path), "--trace", "no/where.json").code == 3


@pytest.mark.slow
def test_command_prints_tables_and_the_path_of_the_trace(mlcycle, recipe_path, profiled, tmp_path, monkeypatch):
    def found(recipe, trace, **options):
        assert (recipe.schedule.workers, str(trace)) == (0, "trace.json")
        assert (options["steps"], options["warmup"], options["device"]) == (2, 1, "cpu")
        return profiled[0]

    monkeypatch.setattr(profiling, "profile", found)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trace.json").write_text("old")
    printed = mlcycle(
        "train", "profile", str(recipe_path), "schedule.workers=0", "--steps", "2", "--warmup", "1",
        "--device", "cpu", "--trace", "trace.json", "--overwrite",
    )  # fmt: skip
    assert printed.code == 0
    lines = printed.out.splitlines()
    for name in (*PARTS, "rest", "total", "aten::convolution_backward", loader_profile.READING):
        assert any(line.startswith(name) for line in lines), name
    assert "FLOP/s, waiting for data" in printed.out
    assert "share of the bare step's FLOP/s" in printed.out
    assert lines[-1] == "trace.json"


def test_unwritable_trace_is_an_error(tmp_path: Path) -> None:
    class FullDisk:
        def export_chrome_trace(self, path: str) -> None:
            Path(f"{path}.tmp").touch()

    with pytest.raises(InputError, match=r"trace\.json cannot be written"):
        profiling._write_trace(FullDisk(), tmp_path / "trace.json")
    assert not list(tmp_path.iterdir())
