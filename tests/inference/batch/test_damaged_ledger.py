"""A damaged ledger is refused with one clear error, and what is whole can be saved."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Outcome

from mlcycle.errors import InputError
from mlcycle.inference.batch import ledger
from mlcycle.inference.batch_run import BatchRun, merge_runs
from mlcycle.inference.record import Record, json_line

Run = Callable[..., Outcome]
COUNT = 60


def write(folder: Path) -> bytes:
    """Writes a run and returns the bytes of its ledger."""
    run = BatchRun.begin(folder, {"landmarks": [], "folder": "album"})
    run.process(lambda finished: (Record(f"image-{number:03d}.jpg") for number in range(COUNT)), lambda: None)
    run.close()
    return (folder / ledger.NAME).read_bytes()


def damage(folder: Path, data: bytes, bit: int) -> None:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    (folder / ledger.NAME).write_bytes(changed)


def read(folder: Path) -> list[str]:
    opened = ledger.resume(folder)
    assert opened is not None
    try:
        return [json_line(record) for record in opened.records()]
    finally:
        opened.close()


def test_no_flipped_bit_changes_a_record_or_ends_in_another_error(tmp_path: Path) -> None:
    data = write(tmp_path)
    whole = read(tmp_path)
    draw = random.Random(16)
    refused = []
    for _ in range(150):
        damage(tmp_path, data, draw.randrange(8 * len(data)))
        try:
            assert read(tmp_path) == whole  # the bit has no meaning
        except InputError as problem:
            refused.append(problem.message)
    assert len(refused) > 75
    assert set(refused) == {f"the ledger in {tmp_path} is damaged"}


@pytest.mark.parametrize(
    ("place", "saved"), [(b"image-010", COUNT - 1), (b'"status": "empty"', COUNT - 1), (b"landmarks", COUNT)]
)
def test_undamaged_records_are_saved(mlcycle: Run, tmp_path: Path, place: bytes, saved: int) -> None:
    run = tmp_path / "run"
    data = write(run)
    damage(run, data, 8 * data.index(place))
    refused = mlcycle("infer", "merge", run, "--out", tmp_path / "new")
    assert (refused.code, refused.out) == (3, "")
    assert f"the ledger in {run} is damaged" in refused.err
    assert f"mlcycle infer merge {run} --salvage --out NEW" in refused.err
    outcome = mlcycle("infer", "merge", run, "--salvage", "--out", tmp_path / "new")
    assert outcome.code == 0
    assert f"{saved} images of 1 run" in outcome.err
    again = BatchRun.resume(tmp_path / "new", {"folder": "album"})
    assert again is not None
    again.close()


def test_pages_around_a_damaged_one_are_saved(tmp_path: Path) -> None:
    data = write(tmp_path / "run")
    page = data.index(b"image-030") // 4096 * 4096
    (tmp_path / "run" / ledger.NAME).write_bytes(data[:page] + bytes(4096) + data[page + 4096 :])
    with pytest.raises(InputError, match="is damaged"):
        ledger.resume(tmp_path / "run")
    merged, _ = merge_runs([tmp_path / "run"], tmp_path / "new", salvage=True)
    assert COUNT - 20 < len(merged) < COUNT
    merged.close()


def test_what_concerns_the_whole_run_is_read_from_its_second_page(tmp_path: Path) -> None:
    data = write(tmp_path / "run")
    page = data.index(b"landmarks") // 4096 * 4096
    (tmp_path / "run" / ledger.NAME).write_bytes(data[:page] + bytes(4096) + data[page + 4096 :])
    merged, _ = merge_runs([tmp_path / "run"], tmp_path / "new", salvage=True)
    assert len(merged) == COUNT
    merged.close()


def test_a_damaged_ledger_can_be_started_again(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / ledger.NAME).write_bytes(b"no database" * 100)
    with pytest.raises(InputError, match="is damaged"):
        ledger.resume(tmp_path)
    ledger.remove(tmp_path)
    assert not ledger.exists(tmp_path)
