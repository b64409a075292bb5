"""`mlcycle infer`: find the faces in images."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcycle.cli import console
from mlcycle.cli.group import default_group
from mlcycle.cli.infer.options import (
    AddressOption,
    AlignOption,
    AnnotateOption,
    AtOption,
    BatchOption,
    CropsOption,
    Engine,
    EngineOption,
    EveryOption,
    FormatOption,
    InferOptions,
    MaxPixelsOption,
    ModelOption,
    OutOption,
    OverwriteOption,
    PrivateOption,
    Provider,
    ProviderOption,
    RedactOption,
    RequireSignatureOption,
    ResumeOption,
    RetryFailedOption,
    ShardOption,
    ThreadsOption,
    ThresholdOption,
    VideosOption,
    shard_of,
)

if TYPE_CHECKING:
    from mlcycle.inference.record import Source
    from mlcycle.inference.sources import Folder

app = typer.Typer(
    cls=default_group("image"),
    rich_markup_mode=None,
    help="""Find the faces in images and videos.

Example:  mlcycle infer photo.jpg
""",
)


@app.command()
def image(  # noqa: PLR0913, PLR0917
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE",
            help="Images of any kind, and videos; patterns, as 'in/**/*.jpg'; @FILE, a list of names; -, the "
            "bytes of one image on standard input.",
            show_default=False,
        ),
    ] = None,
    stdin0: Annotated[
        bool, typer.Option("--stdin0", help="Read names from standard input too, with a zero byte behind each.")
    ] = False,
    model: ModelOption = None,
    require_signature: RequireSignatureOption = None,
    format: FormatOption = None,
    out: OutOption = None,
    annotate: AnnotateOption = None,
    redact: RedactOption = None,
    crops: CropsOption = None,
    align: AlignOption = False,
    overwrite: OverwriteOption = False,
    threshold: ThresholdOption = None,
    at: AtOption = None,
    provider: ProviderOption = Provider.auto,
    threads: ThreadsOption = None,
    batch: BatchOption = 1,
    max_pixels: MaxPixelsOption = None,
    every: EveryOption = 0,
    private: PrivateOption = False,
) -> None:
    """Find the faces in the images that are named, on each page of a TIFF, and in each frame of a video.

    One that cannot be read does not stop the others; the exit code is then 3. No face at all is no failure.

    Example:  mlcycle infer photo.jpg --annotate found

    Example:  find . -name '*.jpg' -print0 | mlcycle infer --stdin0 --format jsonl
    """
    from mlcycle.cli.infer.private import absolute, guarded
    from mlcycle.cli.infer.stream import stream

    wishes = InferOptions(
        model=model, require_signature=require_signature, format=format, out=out, annotate=annotate, redact=redact,
        crops=crops, align=align, overwrite=overwrite, threshold=threshold, at=at, provider=provider, threads=threads,
        batch=batch, max_pixels=max_pixels, every=every, private=private,
    )  # fmt: skip
    names = [absolute(name) for name in images or []] if private else images or []
    with guarded(wishes, names, is_run=False) as wishes:
        found = _named(names, stdin0)
        stream(partial(_placed, found, wishes, keep_tree=False), len(found), wishes, faces=True)


@app.command(name="dir")
def folder(  # noqa: PLR0913, PLR0917
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder; folders inside it count too.")],
    videos: VideosOption = False,
    every: EveryOption = 0,
    model: ModelOption = None,
    require_signature: RequireSignatureOption = None,
    format: FormatOption = None,
    out: OutOption = None,
    resume: ResumeOption = False,
    retry_failed: RetryFailedOption = False,
    shard: ShardOption = None,
    annotate: AnnotateOption = None,
    redact: RedactOption = None,
    crops: CropsOption = None,
    align: AlignOption = False,
    overwrite: OverwriteOption = False,
    threshold: ThresholdOption = None,
    at: AtOption = None,
    provider: ProviderOption = Provider.auto,
    threads: ThreadsOption = None,
    batch: BatchOption = 1,
    max_pixels: MaxPixelsOption = None,
    private: PrivateOption = False,
    engine: EngineOption = Engine.local,
    address: AddressOption = None,
) -> None:
    """Find the faces in all images below a folder.

    Hidden files and files that are no images by their suffix are passed over, and so are videos without --videos:
    a minute of video has as many frames as 1,800 images. An image that cannot be read does not stop the
    others; the exit code is then 3.

    Where --out has no suffix of a format, as `--out RUN`, it is a folder with a ledger: whatever ends the command, the
    same with --resume goes on with what is missing, and RUN/records.jsonl is then what it would have been.

    With --engine ray, Ray Data gives the images to workers, one thread each, all of which must see the folder, the
    model file and the folders of copies under the same paths. What a worker that died was looking at is done again.

    Example:  mlcycle infer dir holiday --out holiday.jsonl

    Example:  mlcycle infer dir archive --out run --redact blur redacted --resume

    Example:  mlcycle infer dir archive --out run --engine ray --address auto
    """
    from mlcycle.cli.infer.engine import fitting
    from mlcycle.cli.infer.private import guarded

    wishes = InferOptions(
        model=model, require_signature=require_signature, format=format, out=out, annotate=annotate, redact=redact,
        crops=crops, align=align, overwrite=overwrite, threshold=threshold, at=at, provider=provider, threads=threads,
        batch=batch, max_pixels=max_pixels, every=every, private=private,
        engine=engine, address=address,
    )  # fmt: skip
    wishes = fitting(wishes, videos=videos)
    part = shard_of(shard)
    if not wishes.is_run() and (resume or retry_failed):
        from mlcycle.errors import UsageError

        option = "--resume" if resume else "--retry-failed"
        raise UsageError(f"{option} goes on with a run, and --out names none", "give it a folder: --out RUN")
    folder = folder.absolute() if private else folder
    with guarded(wishes, [folder], is_run=wishes.is_run()) as wishes:
        _look_below(folder, wishes, part, again=(resume, retry_failed), videos=videos)


@app.command()
def webcam(
    camera: Annotated[int, typer.Argument(metavar="CAMERA", min=0, help="Which camera; the first is 0.")] = 0,
    model: ModelOption = None,
    require_signature: RequireSignatureOption = None,
    threshold: ThresholdOption = None,
    at: AtOption = None,
    provider: ProviderOption = Provider.auto,
    threads: ThreadsOption = None,
    every: EveryOption = 0,
) -> None:
    """Find the faces in what a camera sees: a line of JSON for each frame, until Ctrl-C.

    Example:  mlcycle infer webcam --every 0.5
    """
    from mlcycle.cli.infer import webcam

    wishes = InferOptions(
        model=model, require_signature=require_signature, threshold=threshold, at=at, provider=provider,
        threads=threads, every=every,
    )  # fmt: skip
    webcam.webcam(camera, wishes)


@app.command()
def merge(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Folders that `mlcycle infer dir --out RUN` left.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="RUN", help="The folder to write.", show_default=False)],
    format: FormatOption = None,
) -> None:
    """Make one run of several: of the shards of a folder, or of one run in another format.

    Their settings must agree. Of an image that several have, an answer counts more than an error.

    Example:  mlcycle infer merge run-1 run-2 --out run --format csv
    """
    from mlcycle.cli.infer.run import merge as merge_runs

    merge_runs(runs, out, format)


@app.command()
def names(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A folder that --private left, with its names.key.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder whose images were looked at.")],
) -> None:
    """Say what the images of a folder are called in a private run.

    One line of JSON for each, with its hashed name and its own. It takes the run's key: who deletes RUN/names.key makes
    sure that nobody can.

    Example:  mlcycle infer names run archive | grep 5ad0
    """
    from mlcycle.cli.infer.private import say_names

    say_names(run, _found(folder, without=[run], videos=True))


def _look_below(
    folder: Path, wishes: InferOptions, part: tuple[int, int] | None, again: tuple[bool, bool], *, videos: bool
) -> None:
    without = [*wishes.folders().values(), *([wishes.out] if wishes.out else [])]
    found = _found(folder, without, in_memory=wishes.private, videos=videos)
    sources = partial(_placed, found, wishes, keep_tree=True, shard=part)
    count = sum(1 for _ in sources()) if part else len(found)
    if wishes.is_run():
        from mlcycle.cli.infer.run import run

        run(sources, count, wishes, part, again)
        return
    from mlcycle.cli.infer.stream import stream

    stream(sources, count, wishes, faces=False)


def _named(names: list[str], stdin0: bool) -> list[Source]:
    from mlcycle.errors import InputError, UsageError
    from mlcycle.inference.sources import from_listed, from_names

    if not names and not stdin0:
        raise UsageError("no image is named", "mlcycle infer photo.jpg, or mlcycle infer dir FOLDER")
    if names and all(Path(name).is_dir() for name in names):
        raise UsageError(f"{names[0]} is a folder", f"mlcycle infer dir {names[0]}")
    if stdin0 and "-" in names:
        raise UsageError("standard input holds names, or an image, not both", "leave out --stdin0 or -")
    found = from_names(names, sys.stdin.buffer.read)
    if stdin0:
        found += from_listed(sys.stdin.buffer.read().split(b"\0"))
    if not found:
        raise InputError("standard input names no image", "write a zero byte behind each name, as find -print0")
    return found


def _found(folder: Path, without: list[Path], *, in_memory: bool = False, videos: bool = False) -> Folder:
    from mlcycle.errors import InputError
    from mlcycle.inference.sources import from_folder

    found = from_folder(folder, without, in_memory=in_memory, videos=videos)
    passed_over = f"{found.others} other files were passed over" if found.others > 1 else "1 other file was passed over"
    if found.videos:
        passed_over += f", {found.videos} of them with the suffix of a video; --videos looks at them"
    if not len(found):
        raise InputError(f"{folder} holds no images", passed_over if found.others else "name another folder")
    if found.others:
        console.say(passed_over)
    return found


def _placed(
    found: list[Source] | Folder, wishes: InferOptions, *, keep_tree: bool, shard: tuple[int, int] | None = None
) -> Iterator[Source]:
    """Yields the images and pages of the shard with the places of their copies, which do not depend on the shard.

    In a private run their own names say which shard they belong to, as in any other run, and nobody sees them after.
    """
    from mlcycle.inference.parts import split

    sources: Iterator[Source] = iter(found)
    if wishes.names:
        sources, shard = wishes.names.hide(_of_shard(sources, shard)), None
    sources = split(sources)
    if folders := wishes.folders():
        from mlcycle.inference.copies.image_copies import placed

        sources = placed(sources, folders, keep_tree=keep_tree)
    return _of_shard(sources, shard)


def _of_shard(sources: Iterator[Source], shard: tuple[int, int] | None) -> Iterator[Source]:
    if shard is None:
        return sources
    from mlcycle.inference.sources import in_shard

    return (source for source in sources if in_shard(source, shard))
