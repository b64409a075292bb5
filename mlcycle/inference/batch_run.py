"""The conductor of a batch run: a folder with a ledger of finished images, all results and a summary.

A run can be interrupted at any time. Resumed with the same settings, it processes the images that its ledger lacks, and
then writes the same results as an uninterrupted run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlcycle
from mlcycle import files
from mlcycle.errors import InputError
from mlcycle.inference.batch import ledger
from mlcycle.inference.tally import Tally, is_first_of_file

if TYPE_CHECKING:
    from mlcycle.inference.record import FinishedRecords, Record, Source

# Of summary.json; version 1 counted under "photographs" and "milliseconds_a_photograph".
SUMMARY_SCHEMA_VERSION = 2
# Settings that the runs merged into one may differ in.
_OWN_SETTINGS = ("shard", "names.key")


class BatchRun:
    """An open run folder; this process holds it until `close`.

    Attributes:
        folder: of the run.
        tally: counts of the records that this process has added.
    """

    def __init__(self, folder: Path, opened: ledger.Ledger) -> None:
        self.folder, self.tally = folder, Tally()
        self._ledger = opened

    @classmethod
    def begin(cls, folder: Path, settings: Mapping[str, Any]) -> BatchRun:
        """Starts a run in a folder, which is created.

        Raises:
            InputError: another process holds it, or it cannot be written.
        """
        return cls(folder, ledger.begin(folder, settings))

    @classmethod
    def resume(cls, folder: Path, settings: Mapping[str, Any]) -> BatchRun | None:
        """Opens a run; None if there is none, or if it was killed before it had a ledger.

        Raises:
            UsageError: it was started with other settings.
            InputError: another process holds it, it is damaged, or cannot be read.
        """
        opened = ledger.resume(folder) if ledger.exists(folder) else None
        if opened is None:
            return None
        try:
            ledger.must_agree(opened, settings, folder)
        except BaseException:
            opened.close()
            raise
        return cls(folder, opened)

    def __len__(self) -> int:
        """Returns the number of finished images."""
        return len(self._ledger)

    @property
    def token(self) -> str:
        """The common part of the temporary names of this run's copies."""
        return self._ledger.token

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that the run was started with."""
        return self._ledger.settings

    def forget_failed(self) -> int:
        """Removes the records with an error, so that these images are processed again; returns their number."""
        return self._ledger.forget_failed()

    def process(self, detect: Callable[[FinishedRecords], Iterable[Record]], advance: Callable[[], object]) -> None:
        """Adds the records of all images that are not finished.

        Args:
            detect: yields the records of the images that its argument does not have.
            advance: called once for each file, finished earlier or now.

        Raises:
            InputError: the disk is full, or fails.
        """
        for record in detect(_Finished(self._ledger, advance)):
            self._ledger.add(record)
            self.tally.count(record)
            if is_first_of_file(record.part):
                advance()
        self._ledger.commit()

    def records(self) -> Iterator[Record]:
        """Yields all records, in the order of their inputs' bytes and of their parts."""
        return self._ledger.records()

    def merge(self, runs: Sequence[BatchRun]) -> None:
        """Adds the records of other runs; of an image in several runs, a result takes precedence over an error.

        Raises:
            InputError: the disk is full, or fails.
        """
        for run in runs:
            for record in run.records():
                if record.error is None or not self._ledger.has(record.identity):
                    self._ledger.add(record)
        self._ledger.commit()

    def write_results(self, format: str, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Writes all records and summary.json into the folder; returns the summary.

        Args:
            format: of the records: json, jsonl, csv, coco, yolo or parquet.
            more: further entries of the summary.

        Raises:
            InputError: they cannot be written.
        """
        from mlcycle.inference.outputs.output import open_output
        from mlcycle.inference.outputs.results import open_results

        with open_results(results_path(self.folder, format), format, tree=True, overwrite=True) as writer:
            for record in self.records():
                writer.write(record)
        summary = self._summary() | dict(more or {})
        with open_output(self.folder / "summary.json", overwrite=True) as text:
            text.write(json.dumps(summary, indent=2) + "\n")
        return summary

    def close(self) -> None:
        """Commits the added records and releases the folder."""
        self._ledger.close()

    def _summary(self) -> dict[str, Any]:
        counts, tally = self._ledger.counts(), self.tally
        summary = {
            "schema_version": SUMMARY_SCHEMA_VERSION,
            "images": len(self),
            **{status: counts[status] for status in ("ok", "empty", "error", "faces")},
            "errors": {each.removeprefix("error "): counts[each] for each in counts if each.startswith("error ")},
            "settings": self.settings,
            "mlcycle": mlcycle.__version__,
        }
        if tally.images:
            summary["last_part"] = {
                "images": tally.images,
                "seconds": round(tally.seconds, 3),
                "milliseconds_an_image": {
                    stage: round(total / tally.images, 3) for stage, total in tally.milliseconds.items()
                },
            }
        return summary


class _Finished:
    """The finished images of a ledger; reports progress for each finished file that is skipped."""

    def __init__(self, opened: ledger.Ledger, advance: Callable[[], object]) -> None:
        self._ledger, self._advance = opened, advance

    def has(self, source: Source) -> bool:
        found = self._ledger.has(source.identity)
        if found and is_first_of_file(source.part):
            self._advance()
        return found

    def find(self, source: Source) -> Record:
        return self._ledger.find(source.identity)


def is_run(folder: Path) -> bool:
    """Returns whether a folder has a ledger."""
    return ledger.exists(folder)


def must_be_new(folder: Path, *, overwrite: bool, kept: Sequence[str] = ()) -> None:
    """Checks that a new run may start in a folder; with `overwrite`, the ledger of an earlier run is removed.

    Args:
        kept: names of files that may be in the folder already.

    Raises:
        InputError: it is a file, has a run and `overwrite` is off, or has other files.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, not a run folder", "choose another folder with --out")
    if ledger.exists(folder):
        if not overwrite:
            raise InputError(
                f"{folder} already contains a run",
                "continue it with --resume, start again with --overwrite, or choose another folder",
            )
        ledger.remove(folder)
        return
    # A process that was killed while it wrote one of `kept` has left a draft.
    if folder.is_dir() and any(each.name not in kept for each in {*folder.iterdir()} - {*files.drafts(folder)}):
        raise InputError(f"{folder} is not empty and not a run folder", "choose another folder with --out")


def merge_runs(folders: Sequence[Path], target: Path) -> tuple[BatchRun, bool]:
    """Starts a run with the records of all given ones; returns it, and whether their names have different keys.

    Raises:
        UsageError: their settings differ.
        InputError: a folder is not a run, the target is not empty, or it cannot be written.
    """
    if ledger.exists(target) or (target.is_dir() and any(target.iterdir())):
        raise InputError(f"{target} is not empty", "choose another folder with --out")
    runs: list[BatchRun] = []
    shared: dict[str, Any] = {}
    try:
        for folder in folders:
            runs.append(_existing(folder, shared))
            shared = {name: value for name, value in runs[0].settings.items() if name not in _OWN_SETTINGS}
        keys = {run.settings.get("names.key") for run in runs}
        own = {"shard": None} | ({"names.key": None} if len(keys) > 1 else {})
        merged = BatchRun.begin(target, runs[0].settings | own)
        try:
            merged.merge(runs)
        except BaseException:
            merged.close()
            raise
    finally:
        for run in runs:
            run.close()
    return merged, len(keys) > 1


def results_path(folder: Path, format: str) -> Path:
    """Returns where a run's results are written: records.FORMAT, or the folder itself for YOLO labels."""
    return folder if format == "yolo" else folder / f"records.{format.replace('coco', 'coco.json')}"


def _existing(folder: Path, settings: Mapping[str, Any]) -> BatchRun:
    run = BatchRun.resume(folder, settings)
    if run is None:
        raise InputError(f"{folder} is not a run", "pass a folder written by mlcycle infer dir --out RUN")
    return run
