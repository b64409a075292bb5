"""`mlcycle infer`: find the faces in photographs."""

from __future__ import annotations

import sys
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcycle.cli import console
from mlcycle.cli.group import default_group
from mlcycle.cli.infer_options import (
    AlignOption,
    AnnotateOption,
    CropsOption,
    Format,
    FormatOption,
    MaxPixelsOption,
    ModelOption,
    OutOption,
    OverwriteOption,
    Provider,
    ProviderOption,
    RedactOption,
    ThreadsOption,
    ThresholdOption,
    Wishes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlcycle.inference.detect import Detector, Options
    from mlcycle.inference.record import Record
    from mlcycle.inference.report import Writer
    from mlcycle.inference.sources import Source

app = typer.Typer(
    cls=default_group("image"),
    rich_markup_mode=None,
    help="""Find the faces in photographs.

Example:  mlcycle infer photo.jpg
""",
)


@app.command()
def image(  # noqa: PLR0913, PLR0917
    photographs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PHOTO",
            help="Photographs of any kind; patterns, as 'in/**/*.jpg'; @FILE, a list of names; -, the bytes of one "
            "photograph on standard input.",
            show_default=False,
        ),
    ] = None,
    stdin0: Annotated[
        bool, typer.Option("--stdin0", help="Read names from standard input too, with a zero byte behind each.")
    ] = False,
    model: ModelOption = None,
    format: FormatOption = None,
    out: OutOption = None,
    annotate: AnnotateOption = None,
    redact: RedactOption = None,
    crops: CropsOption = None,
    align: AlignOption = False,
    overwrite: OverwriteOption = False,
    threshold: ThresholdOption = None,
    provider: ProviderOption = Provider.auto,
    threads: ThreadsOption = None,
    max_pixels: MaxPixelsOption = None,
) -> None:
    """Find the faces in the photographs that are named.

    One that cannot be read does not stop the others; the exit code is then 3. No face at all is no failure.

    Example:  mlcycle infer photo.jpg --annotate found

    Example:  find . -name '*.jpg' -print0 | mlcycle infer --stdin0 --format jsonl
    """
    from mlcycle.errors import InputError, UsageError
    from mlcycle.inference.sources import from_listed, from_names

    names = photographs or []
    if not names and not stdin0:
        raise UsageError("no photograph is named", "mlcycle infer photo.jpg, or mlcycle infer dir FOLDER")
    if names and all(Path(name).is_dir() for name in names):
        raise UsageError(f"{names[0]} is a folder", f"mlcycle infer dir {names[0]}")
    copies = (annotate, redact, crops, align, overwrite)
    wishes = Wishes(model, format, out, *copies, threshold, provider, threads, max_pixels)
    if stdin0 and "-" in names:
        raise UsageError("standard input holds names, or a photograph, not both", "leave out --stdin0 or -")
    found = from_names(names, sys.stdin.buffer.read)
    if stdin0:
        found += from_listed(sys.stdin.buffer.read().split(b"\0"))
    if not found:
        raise InputError("standard input names no photograph", "write a zero byte behind each name, as find -print0")
    _infer(found, [source.path.name for source in found], wishes, faces=True)


@app.command(name="dir")
def folder(  # noqa: PLR0913, PLR0917
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder; folders inside it count too.")],
    model: ModelOption = None,
    format: FormatOption = None,
    out: OutOption = None,
    annotate: AnnotateOption = None,
    redact: RedactOption = None,
    crops: CropsOption = None,
    align: AlignOption = False,
    overwrite: OverwriteOption = False,
    threshold: ThresholdOption = None,
    provider: ProviderOption = Provider.auto,
    threads: ThreadsOption = None,
    max_pixels: MaxPixelsOption = None,
) -> None:
    """Find the faces in all photographs below a folder.

    Hidden files and files that are no photographs by their suffix are passed over. A photograph that cannot be read
    does not stop the others; the exit code is then 3.

    Example:  mlcycle infer dir holiday --format jsonl --out holiday.jsonl
    """
    from mlcycle.errors import InputError
    from mlcycle.inference.sources import from_folder

    copies = (annotate, redact, crops, align, overwrite)
    wishes = Wishes(model, format, out, *copies, threshold, provider, threads, max_pixels)
    found = from_folder(folder, without=list(wishes.folders().values()))
    if not found.photographs:
        raise InputError(f"{folder} holds no photographs", f"{found.others} other files were passed over")
    if found.others:
        console.say(
            f"{found.others} other files were passed over" if found.others > 1 else "1 other file was passed over"
        )
    _infer(found.photographs, [source.key for source in found.photographs], wishes, faces=False)


def _infer(sources: list[Source], names: list[str], wishes: Wishes, *, faces: bool) -> None:
    for kind, folder in wishes.folders().items():
        sources = _with_copies(sources, names, kind, folder, wishes.overwrite)
    detector = _detector(wishes)
    options = _options(wishes, detector)
    tally = _Tally()
    try:
        with (
            _writer(wishes, [source.key for source in sources], faces) as writer,
            console.progress("looking", len(sources) if len(sources) > 1 else None) as advance,
        ):
            for record in detector.detect_all(sources, options):
                writer.write(record)
                tally.count(record)
                advance()
    finally:
        console.say("; ".join([tally.sentence(), *_where(wishes, tally)]))
    if tally.failed:
        raise typer.Exit(3)


def _detector(wishes: Wishes) -> Detector:
    from mlcycle.inference.models import find_model

    path, how = find_model(wishes.model)
    from mlcycle.inference.detect import load_detector

    detector = load_detector(path, provider=wishes.provider, threads=wishes.threads)
    contract = detector.contract
    console.detail(f"verified {detector.sha256}")
    console.detail(f"long side {contract.resize.long_side} px, threshold {contract.thresholds['balanced']:g}")
    console.say(
        f"model {detector.contract.name} {detector.sha256[:12]} from {path} ({how}), on {detector.provider}"
        + (" (auto)" if wishes.provider == Provider.auto else "")
    )
    return detector


def _options(wishes: Wishes, detector: Detector) -> Options:
    from mlcycle.errors import UsageError
    from mlcycle.inference.detect import DEFAULT

    if wishes.align and len(detector.contract.landmarks) != 5:
        what = f"--align needs the five landmarks of a face, and the model {detector.contract.name} gives none"
        raise UsageError(what, "leave it out, or name a model that gives them, such as --model face-nano")
    floor = detector.contract.selection.score_floor
    if wishes.threshold is not None and wishes.threshold < floor:
        console.warn(f"the model gives no scores below {floor}, so that a lower threshold finds no more")
    return replace(
        DEFAULT,
        threshold=wishes.threshold,
        max_pixels=wishes.max_pixels or DEFAULT.max_pixels,
        overwrite=wishes.overwrite,
        redaction=wishes.redact[0].value if wishes.redact else DEFAULT.redaction,
        align=wishes.align,
    )


def _with_copies(sources: list[Source], names: list[str], kind: str, folder: Path, overwrite: bool) -> list[Source]:
    """Gives each photograph the place of a copy, and refuses at once what is known to be taken."""
    from mlcycle.errors import InputError
    from mlcycle.inference.copies import plan

    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is no folder to put {kind} copies into", "name a folder")
    paths = plan(names, folder, folders=kind == "cropped")
    originals = {source.path.resolve() for source in sources}
    others = {each.resolve() for source in sources for each in source.copies.values()}
    for path in paths:
        real = path.resolve()
        if real in others:
            raise InputError(f"two copies would have the name {path}", "give each kind of copy a folder of its own")
        if real in originals:
            raise InputError(f"the {kind} copy {path} would replace the photograph itself", "choose another folder")
    existing = [path for path in paths if path.exists()]
    if existing and not overwrite:
        raise InputError(
            f"of {len(paths)} {kind} copies {len(existing)} exist already, for example {existing[0]}",
            "choose another folder, or say --overwrite",
        )
    return [replace(source, copies={**source.copies, kind: path}) for source, path in zip(sources, paths, strict=True)]


@contextmanager
def _writer(wishes: Wishes, keys: list[str], faces: bool) -> Iterator[Writer]:
    from mlcycle.inference import output, report

    by_suffix = {".json": Format.json, ".jsonl": Format.jsonl, ".csv": Format.csv, ".parquet": Format.parquet}
    format = wishes.format or by_suffix.get(wishes.out.suffix.lower() if wishes.out else "", Format.table)
    if format is Format.yolo:
        from mlcycle.inference import yolo_labels

        assert wishes.out is not None
        with yolo_labels.opened(wishes.out, tree=not faces, overwrite=wishes.overwrite) as labels:
            yield labels
        return
    writers = {**report.WRITERS, "table": lambda stream: report.Table(stream, keys, faces=faces)}
    if format is Format.parquet:
        from mlcycle.cli.extras import extra

        with extra("parquet", "the format parquet"):
            from mlcycle.inference.parquet import Parquet
        writers["parquet"] = Parquet
    with output.opened(wishes.out, overwrite=wishes.overwrite) as stream:
        writer = writers[format.value](stream)
        try:
            yield writer
        finally:
            # Also when broken off: what was done so far is whole.
            writer.close()


def _where(wishes: Wishes, tally: _Tally) -> list[str]:
    said = {"annotated": "drawn in", "redacted": "redacted in", "cropped": "cut out in"}
    return [f"{said[kind]} {folder}" for kind, folder in wishes.folders().items() if tally.copies[kind]]


class _Tally:
    """Counts for the closing line."""

    def __init__(self) -> None:
        self.photographs = self.faces = self.failed = 0
        self.copies: Counter[str] = Counter()
        self._start = time.perf_counter()

    def count(self, record: Record) -> None:
        self.photographs += 1
        self.faces += len(record.scores_N)
        self.failed += record.error is not None
        self.copies.update(record.copies.keys())

    def sentence(self) -> str:
        """Returns e.g. "12 photographs, 7 faces, 1 failed, 34.1 photographs a second"."""
        seconds = max(time.perf_counter() - self._start, 1e-9)
        parts = [_number(self.photographs, "photograph"), _number(self.faces, "face"), f"{self.failed} failed"]
        return ", ".join([*parts, f"{self.photographs / seconds:.1f} photographs a second"])


def _number(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"
