"""`mlcycle infer dir --out RUN`: a batch run in a folder with a ledger, which can be resumed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mlcycle.cli import console
from mlcycle.cli.infer.engine import open_engine
from mlcycle.cli.infer.model import check_outputs, count_images, detect_options, load_model, records_of
from mlcycle.cli.infer.options import Format, InferOptions
from mlcycle.cli.infer.tally import noun, tallied
from mlcycle.counted import counted
from mlcycle.errors import UsageError
from mlcycle.inference import batch_run
from mlcycle.inference.batch_run import BatchRun
from mlcycle.inference.outputs.results import must_be_installed
from mlcycle.inference.tally import Doubtful

if TYPE_CHECKING:
    from mlcycle.inference.detect import DetectOptions, Detector
    from mlcycle.inference.record import Source

    Around = Callable[[BatchRun, Detector], AbstractContextManager[None]]


@contextmanager
def _nothing(current: BatchRun, detector: Detector) -> Iterator[None]:
    yield


def run(
    folder: Path,
    sources: Callable[[], Iterator[Source]],
    count: int,
    options: InferOptions,
    around: Around = _nothing,
) -> None:
    """Detects faces in the images that the run in --out lacks; exits with 3 if any image of the run failed.

    Args:
        folder: of the images.
        sources: yields the images, each time it is called.
        count: number of files.
        around: a context entered with the open run before its images are processed, and left after its results are
            written.
    """
    out = _folder(options)
    must_be_installed(options.format)
    resumes = (options.resume or options.retry_failed) and batch_run.is_run(out)
    if not resumes:
        from mlcycle.inference.privacy.hashed_names import NAME

        # The key may exist already: of an earlier run, or of one that was killed before it had a ledger.
        batch_run.must_be_new(out, overwrite=options.overwrite, kept=[NAME] if options.private else [])
        check_outputs(sources, options)
    images = count_images(sources, count)
    detector = load_model(options, images)
    detection = detect_options(options, detector, images)
    settings = _settings(options, detector, detection)
    with open_engine(detector, options) as detect_images:
        current = _resumed(folder, sources, options, settings) if resumes else None
        if current is None:  # one without records is falsy
            current = _started(folder, options, settings)
        detection = replace(detection, token=current.token)
        if options.redact:
            current.tally.doubtful = Doubtful(detector.contract.thresholds["balanced"])
        with closing(current), _hint_to_resume(), around(current, detector), tallied(current.tally, options):
            if options.retry_failed and (failed := current.forget_failed()):
                console.say(f"{counted(failed, 'failed image')} will be processed again")
            with console.progress("detecting", count) as advance:
                changes = current.process(
                    lambda done: records_of(detector, sources(), detection, options, done, detect_images),
                    advance,
                    _conceal(options),
                )
            for sentence in _sentences(changes):
                console.say(sentence)
            summary = current.write_results(_format(options.format), _privacy_report(options))
    _report(summary, batch_run.results_path(out, _format(options.format)))


def merge(runs: list[Path], out: Path, format: Format | None, *, salvage: bool) -> None:
    """Merges runs into a new one; exits with 3 if it has a failed image."""
    if suffix := InferOptions(out=out).format_of_suffix():
        what = f"--out {out} is named like a file, and a merged run is a folder"
        raise UsageError(what, f"mlcycle infer merge RUN... --out {out.with_suffix('')} --format {suffix}")
    if format is Format.table:
        raise UsageError("a run cannot have the format table", "choose another --format")
    must_be_installed(format)
    merged, keys_differ = batch_run.merge_runs(runs, out, salvage=salvage)
    try:
        if salvage:
            console.warn(f"damaged records are left out; to process their images again, continue {out} with --resume")
        if keys_differ:
            console.warn("names are hashed with different keys: an image in two of the runs counts twice")
        summary = merged.write_results(_format(format))
        console.say(f"{counted(len(merged), 'image')} of {counted(len(runs), 'run')}")
    finally:
        merged.close()
    _report(summary, batch_run.results_path(out, _format(format)))


def _started(folder: Path, options: InferOptions, settings: dict[str, Any]) -> BatchRun:
    out = _folder(options)
    if options.names:
        settings["names.key"] = options.names.save_key(out)
    return BatchRun.begin(out, settings | {"folder": _conceal(options)(str(folder.resolve()))})


def _resumed(
    folder: Path, sources: Callable[[], Iterator[Source]], options: InferOptions, settings: dict[str, Any]
) -> BatchRun | None:
    resumed = BatchRun.resume(_folder(options), settings)
    if resumed is None:
        return None
    try:
        resumed.must_be_of(str(folder.resolve()), sources(), _conceal(options))
    except BaseException:
        resumed.close()
        raise
    if len(resumed):
        finished = counted(len(resumed), noun(len(resumed), resumed.count_frames()))
        console.say(f"{finished} already finished in {options.out}")
    return resumed


def _conceal(options: InferOptions) -> Callable[[str], str]:
    """Returns what the ledger keeps of a text that would identify a file: with --private, a hash."""
    return options.names.conceal if options.names else str


@contextmanager
def _hint_to_resume() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        console.say("finished images are kept; continue with the same command and --resume")
        raise


def _sentences(changes: dict[str, int]) -> Iterator[str]:
    """Yields what a resumed run has found changed."""
    if count := changes["changed"]:
        yield f"{counted(count, 'file')} changed since the run was started; processed again"
    if count := changes["incomplete"]:
        yield f"{counted(count, 'image')} without a copy; processed again"
    if count := changes["gone"]:
        yield f"{counted(count, 'image')} no longer in the folder; the records are kept, with a note"


def _settings(options: InferOptions, detector: Detector, detection: DetectOptions) -> dict[str, Any]:
    """Returns everything that affects the records, and so must not change when a run is resumed."""
    threshold = detection.threshold
    return {
        "private": "yes" if options.private else None,
        "names.key": options.names.fingerprint if options.names else None,
        "model": detector.sha256,
        "threshold": detector.contract.thresholds["balanced"] if threshold is None else threshold,
        "long-sides": list(detection.long_sides) if detection.long_sides else None,
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
    images = counted(summary["images"], noun(summary["images"], summary["frames"]))
    console.say(f"{images} in all, {summary['error']} failed: {records}")
    if summary["error"]:
        raise typer.Exit(3)
