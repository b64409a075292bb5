"""The model that answers `mlcycle infer`, and how it is to look: found, loaded and said before the first image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from mlcycle.cli import console
from mlcycle.cli.infer.options import InferOptions, Provider
from mlcycle.cli.model.keys import public_key

if TYPE_CHECKING:
    from mlcycle.cli.infer.engine import Look
    from mlcycle.inference.batch.ledger import Ledger
    from mlcycle.inference.detect import DetectOptions, Detector
    from mlcycle.inference.record import Record, Source

# Of a video, which has to be decoded to count them: enough to be looked at side by side.
_FRAMES = 100


def refuse_taken_copies(sources: Callable[[], Iterator[Source]], wishes: InferOptions) -> None:
    """Raises InputError if a folder for copies cannot take them, or what they would be called is there already."""
    from mlcycle.errors import InputError

    folders = wishes.folders()
    for kind, folder in folders.items():
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is no folder to put {kind} copies into", "name a folder")
    if len({folder.resolve() for folder in folders.values()}) < len(folders):
        raise InputError("two kinds of copies would have the same names", "give each kind of copy a folder of its own")
    if folders:
        from mlcycle.inference.copies.image_copies import must_be_free

        must_be_free(sources, overwrite=wishes.overwrite)


def images(sources: Callable[[], Iterator[Source]], files: int) -> int:
    """Returns about how many images there are at least: of a single file those in it, of several one in each."""
    from mlcycle.inference.parts import is_video

    return files if files > 1 else sum(_FRAMES if is_video(each) else 1 for each in sources())


def detector_for(wishes: InferOptions, count: int) -> Detector:
    """Loads the model that is wished for, or else found, and says which it is and what runs it.

    Many images are looked at side by side, by one thread each; a single one has all threads for itself.
    """
    from mlcycle.inference.models import find_model

    path, how = find_model(wishes.model)
    wanted = wishes.require_signature
    key = public_key(wanted, "--require-signature") if wanted else None
    from mlcycle.inference.detect import load_detector

    threads = 1 if count > 1 else wishes.threads
    detector = load_detector(path, provider=wishes.provider, threads=threads, signed_by=key)
    contract = detector.contract
    console.detail(f"verified {detector.sha256}")
    if key:
        console.detail(f"signed by the {key.kind} key {key.fingerprint}")
    console.detail(f"long side {contract.resize.long_side} px, thresholds: {_points(contract.thresholds)}")
    place = "" if wishes.private else f" from {path}"
    console.say(
        f"model {detector.contract.name} {detector.sha256[:12]}{place} ({how}), on {detector.provider}"
        + (" (auto)" if wishes.provider == Provider.auto else "")
    )
    return detector


def options_for(wishes: InferOptions, detector: Detector, count: int) -> DetectOptions:
    """Returns how to look at `count` images; warns of a threshold that the model cannot go down to.

    Raises:
        UsageError: the model has no landmarks to align by, or not the operating point that is asked for.
    """
    from mlcycle.errors import UsageError
    from mlcycle.inference.detect import DEFAULT

    if wishes.align and len(detector.contract.landmarks) != 5:
        what = f"--align needs the five landmarks of a face, and the model {detector.contract.name} gives none"
        raise UsageError(what, "leave it out, or name a model that gives them, such as --model face-nano")
    floor = detector.contract.selection.score_floor
    if wishes.threshold is not None and wishes.threshold < floor:
        console.warn(f"the model gives no scores below {floor}, so that a lower threshold finds no more")
    options = replace(
        DEFAULT,
        threshold=detector.contract.choose_threshold(wishes.threshold, wishes.at),
        max_pixels=wishes.max_pixels or DEFAULT.max_pixels,
        overwrite=wishes.overwrite,
        redaction=wishes.redact[0].value if wishes.redact else DEFAULT.redaction,
        align=wishes.align,
    )
    if count <= 1:
        return options
    from mlcycle.inference.batch.worker_threads import cores

    return replace(options, batch=wishes.batch, workers=min(wishes.threads or cores(), count))


def _points(thresholds: dict[str, float]) -> str:
    return ", ".join(f"{name} ({value:g})" for name, value in sorted(thresholds.items()))


def records_of(
    detector: Detector,
    sources: Iterable[Source],
    options: DetectOptions,
    wishes: InferOptions,
    book: Ledger | None = None,
    is_done: Callable[[Source], bool] = lambda source: False,
    look: Look | None = None,
) -> Iterator[Record]:
    """Yields the record of each image as it may be written down: without a path, where --private is wished.

    Those that are done are passed over; `book` has their records. `look` looks in the detector's place.
    """
    from mlcycle.inference.parts import detect_all

    recall = book.find if book else None
    records = detect_all(detector, sources, options, every=wishes.every, known=is_done, recall=recall, look=look)
    if not wishes.private:
        return records
    from mlcycle.inference.privacy.hashed_names import discreet

    return (discreet(record, wishes.out) for record in records)
