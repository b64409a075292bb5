"""The model and the detection options of `mlcycle infer`, and the records they give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from mlcycle.cli import console
from mlcycle.cli.infer.options import InferOptions, Provider
from mlcycle.cli.long_side import parse_long_sides
from mlcycle.cli.model.keys import public_key

if TYPE_CHECKING:
    from mlcycle.inference.detect import DetectOptions, Detector
    from mlcycle.inference.pages_and_frames import DetectImages
    from mlcycle.inference.record import FinishedRecords, Record, Source

# Frames of a video before it is decoded: any number that uses all worker threads.
_FRAMES = 100


def check_outputs(sources: Callable[[], Iterator[Source]], options: InferOptions) -> None:
    """Checks before any work that results and copies can be written, and replace no input.

    Raises:
        InputError: --out is an input, a folder for copies is not usable, or a copy already exists.
    """
    from mlcycle.artifact.bundled import locate
    from mlcycle.errors import InputError
    from mlcycle.inference.models import find_model
    from mlcycle.inference.outputs.output import must_not_be_input

    must_not_be_input(options.out, chain([locate(find_model(options.model)[0])], (each.path for each in sources())))
    folders = options.folders()
    for kind, folder in folders.items():
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is not a folder for {kind} copies", "pass a folder")
    if len({folder.resolve() for folder in folders.values()}) < len(folders):
        raise InputError("two kinds of copies have the same folder", "give each kind of copy its own folder")
    if folders:
        from mlcycle.inference.copies.image_copies import must_be_free

        must_be_free(sources, overwrite=options.overwrite)


def count_images(sources: Callable[[], Iterator[Source]], files: int) -> int:
    """Returns a lower estimate of the number of images: one per file, or those in a single file."""
    from mlcycle.inference.pages_and_frames import is_video

    return files if files > 1 else sum(_FRAMES if is_video(each) else 1 for each in sources())


def load_model(options: InferOptions, count: int) -> Detector:
    """Loads the model for `count` images and prints its name and provider.

    Several images are processed in parallel with one thread each; a single one uses all threads.
    """
    from mlcycle.inference.models import find_model

    path, how = find_model(options.model)
    required = options.require_signature
    key = public_key(required, "--require-signature") if required else None
    from mlcycle.inference.detect import load_detector

    threads = 1 if count > 1 else options.threads
    detector = load_detector(path, provider=options.provider, threads=threads, signed_by=key)
    contract = detector.contract
    console.detail(f"verified {detector.sha256}")
    if key:
        console.detail(f"signed by the {key.kind} key {key.fingerprint}")
    points = ", ".join(f"{name} ({value:g})" for name, value in sorted(contract.thresholds.items()))
    console.detail(f"long side {contract.resize.long_side} px, thresholds: {points}")
    source = "" if options.private else f" from {path}"
    console.say(
        f"model {contract.name} {detector.sha256[:12]}{source} ({how}), on {detector.provider}"
        + (" (auto)" if options.provider == Provider.auto else "")
    )
    return detector


def detect_options(options: InferOptions, detector: Detector, count: int) -> DetectOptions:
    """Returns how to detect faces in `count` images; warns of a threshold below the model's score floor.

    Raises:
        UsageError: the model has no landmarks to align by, or no such operating point.
    """
    from mlcycle.errors import UsageError
    from mlcycle.inference.detect import DEFAULT

    if options.align and len(detector.contract.landmarks) != 5:
        what = f"--align needs five landmarks, and the model {detector.contract.name} has none"
        raise UsageError(what, "leave it out, or choose a model with landmarks, such as --model face-nano")
    floor = detector.contract.selection.score_floor
    if options.threshold is not None and options.threshold < floor:
        console.warn(f"the model returns no scores below {floor}; a lower threshold finds no more faces")
    chosen = replace(
        DEFAULT,
        threshold=_threshold(options, detector),
        long_sides=parse_long_sides(options.long_side),
        max_pixels=options.max_pixels or DEFAULT.max_pixels,
        overwrite=options.overwrite,
        redaction=options.redact[0].value if options.redact else DEFAULT.redaction,
        align=options.align,
    )
    detector.check_long_sides(chosen.long_sides)
    if count <= 1:
        return chosen
    from mlcycle.inference.batch.worker_threads import cores

    return replace(chosen, batch=options.batch, workers=min(options.threads or cores(), count))


def _threshold(options: InferOptions, detector: Detector) -> float:
    if options.redact and options.threshold is None and options.at is None:
        return detector.contract.redaction_threshold
    return detector.contract.choose_threshold(options.threshold, options.at)


def records_of(
    detector: Detector,
    sources: Iterable[Source],
    detection: DetectOptions,
    options: InferOptions,
    finished: FinishedRecords | None = None,
    detect_images: DetectImages | None = None,
) -> Iterator[Record]:
    """Yields the records of all images that are not finished; with --private, without paths."""
    from mlcycle.inference.pages_and_frames import detect_sources

    records = detect_sources(
        detector, sources, detection, every=options.every, finished=finished, detect_images=detect_images
    )
    if not options.private:
        return records
    from mlcycle.inference.privacy.hashed_names import without_paths

    return (without_paths(record, options.out) for record in records)
