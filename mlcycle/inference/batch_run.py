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
from mlcycle.errors import InputError, UsageError
from mlcycle.inference.batch import ledger
from mlcycle.inference.batch.finished import FinishedImages, is_folder_of
from mlcycle.inference.record import Identity, is_first_of_file
from mlcycle.inference.tally import Tally

if TYPE_CHECKING:
    from mlcycle.inference.batch.ledger_notes import Notes
    from mlcycle.inference.record import FinishedRecords, Record, Source

# Of summary.json; version 1 counted under "photographs" and "milliseconds_a_photograph".
SUMMARY_SCHEMA_VERSION = 2
# Settings that the runs merged into one may differ in.
_OWN_SETTINGS = ("shard", "names.key", "folder")


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
    def resume(cls, folder: Path, settings: Mapping[str, Any], *, salvage: bool = False) -> BatchRun | None:
        """Opens a run; None if there is none, or if it was killed before it had a ledger.

        Args:
            salvage: open a damaged one too, to merge its undamaged records.

        Raises:
            UsageError: it was started with other settings.
            InputError: another process holds it, it is damaged, or cannot be read.
        """
        opened = ledger.resume(folder, salvage=salvage) if ledger.exists(folder) else None
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

    def count_frames(self) -> int:
        """Returns the number of finished images that are frames of videos."""
        return self._ledger.count_frames()

    @property
    def token(self) -> str:
        """The common part of the temporary names of this run's copies."""
        return self._ledger.token

    @property
    def notes(self) -> Notes:
        """What is known of the run and its images beside the records."""
        return self._ledger.notes

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that the run was started with."""
        return self._ledger.settings

    def find(self, identity: Identity) -> Record | None:
        """Returns the record of an image, or of a part of a file, if it is finished."""
        row = self._ledger.row(identity)
        return self._ledger.record(row) if row else None

    def state(self, identity: Identity) -> str:
        """Returns the state of a finished image's file when its record was made; see `state_of`."""
        row = self._ledger.row(identity)
        return row.state if row else ""

    def forget_failed(self) -> int:
        """Removes the records with an error, so that these images are processed again; returns their number."""
        return self._ledger.forget_failed()

    def process(
        self,
        detect: Callable[[FinishedRecords], Iterable[Record]],
        advance: Callable[[], object],
        conceal: Callable[[str], str] = str,
    ) -> dict[str, int]:
        """Adds the records of all images that are not finished, have changed or lack a copy.

        Args:
            detect: yields the records of the images that its argument does not have.
            advance: called once for each file, finished earlier or now.
            conceal: hides the size and time of a file, which the ledger keeps to notice changes.

        Returns:
            the number of files that have `changed`, of `incomplete` images without a copy, and of records whose file
            is `gone`.

        Raises:
            InputError: the disk is full, or fails.
        """
        finished = FinishedImages(self._ledger, self.folder, advance, conceal)
        for record in detect(finished):
            self._ledger.add(record)
            self.tally.count(record)
            if is_first_of_file(record.part):
                advance()
        return {"changed": finished.changed, "incomplete": finished.incomplete, "gone": self._ledger.mark_gone()}

    def must_be_of(self, folder: str, sources: Iterable[Source], conceal: Callable[[str], str] = str) -> None:
        """Checks that the run was started with a folder, or that the folder has all its images under another name.

        Raises:
            UsageError: it has others.
        """
        was = self.settings.get("folder")
        if was != conceal(folder) and not is_folder_of(self._ledger, sources, conceal):
            raise UsageError(
                f"the run in {self.folder} was started with another folder than {folder}, whose images differ",
                "pass the same folder, or choose another one with --out",
            )

    def records(self) -> Iterator[Record]:
        """Yields all records, in the order of their inputs' bytes and of their parts."""
        return self._ledger.records()

    def merge(self, runs: Sequence[BatchRun], *, salvage: bool = False) -> None:
        """Adds the records of other runs; of an image in several runs, a result takes precedence over an error.

        Args:
            salvage: leave out damaged records.

        Raises:
            InputError: the disk is full, or fails.
        """
        for run in runs:
            for row in run._ledger.undamaged_rows() if salvage else run._ledger.rows():
                if row.code is None or not self._ledger.has((row.input, row.part)):
                    self._ledger.put(row)
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
            "frames": self.count_frames(),
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


def merge_runs(folders: Sequence[Path], target: Path, *, salvage: bool = False) -> tuple[BatchRun, bool]:
    """Starts a run with the records of all given ones; returns it, and whether their names have different keys.

    Args:
        salvage: leave out damaged records instead of raising an error.

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
            runs.append(_existing(folder, shared, salvage))
            shared = {name: value for name, value in runs[0].settings.items() if name not in _OWN_SETTINGS}
        keys = {run.settings.get("names.key") for run in runs}
        # What differs is left out; a single run stays what it is.
        own = {name: None for name in _OWN_SETTINGS if len({run.settings.get(name) for run in runs}) > 1}
        merged = BatchRun.begin(target, runs[0].settings | own)
        try:
            merged.merge(runs, salvage=salvage)
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


def _existing(folder: Path, settings: Mapping[str, Any], salvage: bool) -> BatchRun:
    run = BatchRun.resume(folder, settings, salvage=salvage)
    if run is None:
        raise InputError(f"{folder} is not a run", "pass a folder written by mlcycle infer dir --out RUN")
    return run
