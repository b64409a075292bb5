"""`mlcycle infer dir` whose results go to a run folder with a ledger, so that it can be broken off and gone on with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

import mlcycle
from mlcycle.cli import console
from mlcycle.cli.infer.engine import engine
from mlcycle.cli.infer.model import detector_for, images, options_for, records_of, refuse_taken_copies
from mlcycle.cli.infer.options import Format, InferOptions
from mlcycle.cli.infer.results import must_be_installed, results
from mlcycle.cli.infer.tally import Tally, begins_a_file, number
from mlcycle.errors import InputError, UsageError

if TYPE_CHECKING:
    from mlcycle.inference.batch.ledger import Ledger
    from mlcycle.inference.detect import DetectOptions, Detector
    from mlcycle.inference.record import Record, Source

Shard = tuple[int, int]


def run(
    sources: Callable[[], Iterator[Source]],
    count: int,
    wishes: InferOptions,
    shard: Shard | None,
    again: tuple[bool, bool],
) -> None:
    """Looks at the images that the ledger of --out does not have yet; exits with 3 if one failed, now or before.

    `again` says whether to go on with a run, and whether to do its failed images once more.
    """
    from mlcycle.inference.batch import ledger

    assert wishes.out is not None
    must_be_installed(wishes.format)
    going_on = any(again) and ledger.is_there(wishes.out)
    if not going_on:
        _must_be_new(wishes)
        refuse_taken_copies(sources, wishes)
    many = images(sources, count)
    detector = detector_for(wishes, many)
    options = options_for(wishes, detector, many)
    settings = _settings(wishes, detector, options, shard)
    with engine(detector, wishes) as look:
        book = _opened(wishes, settings, going_on)
        tally = Tally()
        try:
            if again[1] and (failed := book.forget_failed()):
                console.say(f"{number(failed, 'image')} that failed will be done again")
            records = partial(records_of, detector, sources(), replace(options, token=book.token), wishes, book)
            _look(partial(records, look=look), count, book, tally)
            summary = _write_results(book, wishes.out, wishes.format, tally)
        except KeyboardInterrupt:
            console.say("what was done so far is kept; go on with the same command and --resume")
            raise
        finally:
            book.close()
            console.say("; ".join([tally.sentence(), *tally.copies_sentences(wishes)]))
    _close(summary, _results(wishes.out, wishes.format))


def merge(runs: list[Path], out: Path, format: Format | None) -> None:
    """Makes one run of several; exits with 3 if it holds a failed image."""
    from mlcycle.inference.batch import ledger

    if format is Format.table:
        raise UsageError("a run is written for programs, and the table is for people", "choose another --format")
    must_be_installed(format)
    if ledger.is_there(out) or (out.is_dir() and any(out.iterdir())):
        raise InputError(f"{out} holds something already", "choose another folder with --out")
    books = [_existing(each) for each in runs]
    settings = books[0].settings | {"shard": None}
    must_agree = {name: value for name, value in settings.items() if name not in ("shard", "names.key")}
    for book, folder in zip(books, runs, strict=True):
        ledger.must_agree(book, must_agree, folder)
    if len({book.settings.get("names.key") for book in books}) > 1:
        settings["names.key"] = None
        console.warn("their names are hashed by different keys: an image that two of them have will count twice")
    whole = ledger.begin(out, settings)
    try:
        for book in books:
            for record in book.records():
                if record.error is None or not whole.has(record.identity):
                    whole.add(record)
        whole.commit()
        summary = _write_results(whole, out, format, None)
        console.say(f"{number(len(whole), 'image')} of {number(len(books), 'run')}")
    finally:
        for book in (*books, whole):
            book.close()
    _close(summary, _results(out, format))


def _must_be_new(wishes: InferOptions) -> None:
    from mlcycle.inference.batch import ledger

    out = wishes.out
    assert out is not None
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file, not a folder to keep a run in", "choose another folder with --out")
    if ledger.is_there(out):
        if not wishes.overwrite:
            raise InputError(
                f"{out} holds a run already",
                "go on with it: --resume; or begin it anew: --overwrite; or choose another",
            )
        ledger.remove(out)
        return
    from mlcycle.inference.privacy.hashed_names import (
        NAME,  # it may be there before: another run's, or that of one that was killed
    )

    if out.is_dir() and any(each.name != NAME or not wishes.private for each in out.iterdir()):
        raise InputError(f"{out} holds something else than a run", "choose another folder with --out")


def _opened(wishes: InferOptions, settings: dict[str, Any], going_on: bool) -> Ledger:
    from mlcycle.inference.batch import ledger

    out = wishes.out
    assert out is not None
    book = ledger.resume(out) if going_on else None
    if book is None:
        if wishes.names:
            settings["names.key"] = wishes.names.keep(out)
        return ledger.begin(out, settings)
    try:
        ledger.must_agree(book, settings, out)
    except BaseException:
        book.close()
        raise
    if len(book):
        console.say(f"{number(len(book), 'image')} of before in {out}")
    return book


def _existing(folder: Path) -> Ledger:
    from mlcycle.inference.batch import ledger

    book = ledger.resume(folder) if ledger.is_there(folder) else None
    if book is None:
        raise InputError(f"{folder} holds no run", "name a folder that mlcycle infer dir --out left")
    return book


def _settings(wishes: InferOptions, detector: Detector, options: DetectOptions, shard: Shard | None) -> dict[str, Any]:
    """Returns what decides the answers, and so must not change while a run goes on."""
    threshold = options.threshold
    return {
        "private": "yes" if wishes.private else None,
        "names.key": wishes.names.fingerprint if wishes.names else None,
        "model": detector.sha256,
        "threshold": detector.contract.thresholds["balanced"] if threshold is None else threshold,
        "max-pixels": options.max_pixels,
        "every": wishes.every,
        "copies": {
            kind: str(folder.relative_to(wishes.out) if wishes.private and wishes.out else folder)
            for kind, folder in wishes.folders().items()
        },
        "redaction": wishes.redact[0].value if wishes.redact else None,
        "align": wishes.align,
        "shard": f"{shard[0]}/{shard[1]}" if shard else None,
        "landmarks": list(detector.contract.landmarks),
    }


def _look(records: Callable[..., Iterator[Record]], count: int, book: Ledger, tally: Tally) -> None:
    """Takes the records of what is not done yet into the ledger; `records` is records_of but for `is_done`."""
    with console.progress("looking", count) as advance:

        def is_done(source: Source) -> bool:
            done = book.has(source.identity)
            if done and begins_a_file(source.part):
                advance()
            return done

        for record in records(is_done=is_done):
            book.add(record)
            tally.count(record)
            if begins_a_file(record.part):
                advance()
    book.commit()


def _write_results(book: Ledger, out: Path, format: Format | None, tally: Tally | None) -> dict[str, Any]:
    """Writes all records of the ledger, and a summary, which it returns."""
    from mlcycle.inference.outputs import formats, output

    with results(_results(out, format), format or Format.jsonl, tree=True, overwrite=True) as writer:
        for record in book.records():
            writer.write(record)
    counts = book.counts()
    summary = {
        "schema_version": formats.SCHEMA_VERSION,
        "images": len(book),
        **{status: counts[status] for status in ("ok", "empty", "error", "faces")},
        "errors": {name.removeprefix("error "): value for name, value in counts.items() if name.startswith("error ")},
        "settings": book.settings,
        "mlcycle": mlcycle.__version__,
    }
    if tally is not None and tally.images:
        stages = {stage: round(total / tally.images, 3) for stage, total in tally.milliseconds.items()}
        summary["last_part"] = {
            "images": tally.images,
            "seconds": round(tally.seconds, 3),
            "milliseconds_an_image": stages,
        }
    if tally is not None and book.settings.get("private"):
        from mlcycle.inference.privacy import guard

        summary["private"] = guard.report()
    with output.open_output(out / "summary.json", overwrite=True) as text:
        text.write(json.dumps(summary, indent=2) + "\n")
    return summary


def _results(out: Path, format: Format | None) -> Path:
    if format is Format.yolo:
        return out
    return out / f"records.{(format or Format.jsonl).value.replace('coco', 'coco.json')}"


def _close(summary: dict[str, Any], records: Path) -> None:
    said = f"{number(summary['images'], 'image')} in all, {summary['error']} failed"
    console.say(f"{said}: {records}")
    if summary["error"]:
        raise typer.Exit(3)
