"""`mlcycle infer dir --out RUN`: a batch run in a folder with a ledger, which can be resumed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mlcycle.cli import console
from mlcycle.cli.infer.engine import open_engine
from mlcycle.cli.infer.model import count_images, detect_options, load_model, records_of, refuse_existing_copies
from mlcycle.cli.infer.options import Format, InferOptions
from mlcycle.cli.infer.tally import number, say_counts
from mlcycle.errors import UsageError
from mlcycle.inference import batch_run
from mlcycle.inference.batch_run import BatchRun
from mlcycle.inference.outputs.results import must_be_installed
from mlcycle.inference.tally import Doubtful

if TYPE_CHECKING:
    from mlcycle.inference.detect import DetectOptions, Detector
    from mlcycle.inference.record import Source


def run(sources: Callable[[], Iterator[Source]], count: int, options: InferOptions) -> None:
    """Detects faces in the images that the run in --out lacks; exits with 3 if any image of the run failed.

    Args:
        sources: yields the images, each time it is called.
        count: number of files.
    """
    out = _folder(options)
    must_be_installed(options.format)
    resumes = (options.resume or options.retry_failed) and batch_run.is_run(out)
    if not resumes:
        from mlcycle.inference.privacy.hashed_names import NAME

        # The key may exist already: of an earlier run, or of one that was killed before it had a ledger.
        batch_run.must_be_new(out, overwrite=options.overwrite, kept=[NAME] if options.private else [])
        refuse_existing_copies(sources, options)
    images = count_images(sources, count)
    detector = load_model(options, images)
    detection = detect_options(options, detector, images)
    with open_engine(detector, options) as detect_images:
        current = _open(options, _settings(options, detector, detection), resumes)
        detection = replace(detection, token=current.token)
        if options.redact:
            current.tally.doubtful = Doubtful(detector.contract.thresholds["balanced"])
        try:
            if options.retry_failed and (failed := current.forget_failed()):
                console.say(f"{number(failed, 'failed image')} will be processed again")
            with console.progress("detecting", count) as advance:
                current.process(
                    lambda done: records_of(detector, sources(), detection, options, done, detect_images), advance
                )
            summary = current.write_results(_format(options.format), _privacy_report(options))
        except KeyboardInterrupt:
            console.say("finished images are kept; continue with the same command and --resume")
            raise
        finally:
            current.close()
            say_counts(current.tally, options)
    _report(summary, batch_run.results_path(out, _format(options.format)))


def merge(runs: list[Path], out: Path, format: Format | None) -> None:
    """Merges runs into a new one; exits with 3 if it has a failed image."""
    if format is Format.table:
        raise UsageError("a run cannot have the format table", "choose another --format")
    must_be_installed(format)
    merged, keys_differ = batch_run.merge_runs(runs, out)
    try:
        if keys_differ:
            console.warn("names are hashed with different keys: an image in two of the runs counts twice")
        summary = merged.write_results(_format(format))
        console.say(f"{number(len(merged), 'image')} of {number(len(runs), 'run')}")
    finally:
        merged.close()
    _report(summary, batch_run.results_path(out, _format(format)))


def _open(options: InferOptions, settings: dict[str, Any], resumes: bool) -> BatchRun:
    out = _folder(options)
    resumed = BatchRun.resume(out, settings) if resumes else None
    if resumed is None:
        if options.names:
            settings["names.key"] = options.names.save_key(out)
        return BatchRun.begin(out, settings)
    if len(resumed):
        console.say(f"{number(len(resumed), 'image')} already finished in {out}")
    return resumed


def _settings(options: InferOptions, detector: Detector, detection: DetectOptions) -> dict[str, Any]:
    """Returns everything that affects the records, and so must not change when a run is resumed."""
    threshold = detection.threshold
    return {
        "private": "yes" if options.private else None,
        "names.key": options.names.fingerprint if options.names else None,
        "model": detector.sha256,
        "threshold": detector.contract.thresholds["balanced"] if threshold is None else threshold,
        "max-pixels": detection.max_pixels,
        "every": options.every,
        "copies": {
            kind: str(folder.relative_to(options.out) if options.private and options.out else folder)
            for kind, folder in options.folders().items()
        },
        "redaction": options.redact[0].value if options.redact else None,
        "align": options.align,
        "shard": f"{options.shard[0]}/{options.shard[1]}" if options.shard else None,
        "landmarks": list(detector.contract.landmarks),
    }


def _privacy_report(options: InferOptions) -> dict[str, Any]:
    if not options.private:
        return {}
    from mlcycle.inference.privacy import guard

    return {"private": guard.report()}


def _folder(options: InferOptions) -> Path:
    assert options.out is not None
    return options.out


def _format(format: Format | None) -> str:
    return (format or Format.jsonl).value


def _report(summary: dict[str, Any], records: Path) -> None:
    console.say(f"{number(summary['images'], 'image')} in all, {summary['error']} failed: {records}")
    if summary["error"]:
        raise typer.Exit(3)
