"""`mlcycle infer`: find the faces in images."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
    LocalThreadsOption,
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
from mlcycle.cli.long_side import LongSideOption

if TYPE_CHECKING:
    from mlcycle.inference.record import Source

app = typer.Typer(
    cls=default_group("image", of_folder="dir"),
    rich_markup_mode=None,
    help="""Detect faces in images and videos.

Example:  mlcycle infer photo.jpg
""",
)


@app.command()
def image(  # noqa: PLR0913, PLR0917
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE...",
            help="Image and video files, patterns such as 'in/**/*.jpg', @FILE for a list of names, or - for one image "
            "on standard input.",
            show_default=False,
        ),
    ] = None,
    stdin0: Annotated[
        bool, typer.Option("--stdin0", help="Read more names, each followed by a zero byte, from standard input.")
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
    long_side: LongSideOption = "",
    max_pixels: MaxPixelsOption = None,
    every: EveryOption = 0,
    private: PrivateOption = False,
) -> None:
    """Detect faces in images, TIFF pages and video frames.

    An unreadable image does not stop the others; the exit code is then 3. An image without faces is not an error.

    Example:  mlcycle infer photo.jpg --annotate found

    Example:  find . -name '*.jpg' -print0 | mlcycle infer --stdin0 -o a.jsonl
    """
    from mlcycle.cli.infer.private import absolute, guarded
    from mlcycle.cli.infer.sources import sources_of
    from mlcycle.cli.infer.stream import stream
    from mlcycle.inference.outputs.output import must_not_be_input

    options = InferOptions(
        model=model, require_signature=require_signature, format=format, out=out, annotate=annotate, redact=redact,
        crops=crops, align=align, overwrite=overwrite, threshold=threshold, at=at, provider=provider, threads=threads,
        batch=batch, long_side=long_side, max_pixels=max_pixels, every=every, private=private,
    )  # fmt: skip
    names = [absolute(name) for name in images or []] if private else images or []
    with guarded(options, names, is_run=False) as options:
        found = _named(names, stdin0)
        must_not_be_input(options.out, (Path(name[1:]) for name in names if name.startswith("@")))
        stream(partial(sources_of, found, options, keep_tree=False), len(found), options, faces=True)


@app.command(name="dir")
def folder(  # noqa: PLR0913, PLR0917
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder, with all folders below it.")],
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
    long_side: LongSideOption = "",
    max_pixels: MaxPixelsOption = None,
    private: PrivateOption = False,
    engine: EngineOption = Engine.local,
    address: AddressOption = None,
) -> None:
    """Detect faces in all images below a folder.

    Hidden files and files without an image suffix are skipped, and so are videos without --videos: a minute of video
    is 1,800 frames. An unreadable image does not stop the others; the exit code is then 3.

    If --out has no format's suffix, as in `--out RUN`, it is a run folder: however the command ends, the same command
    with --resume processes the missing images and writes the same RUN/records.jsonl.

    With --engine ray, Ray Data distributes the images to workers of one thread each. All nodes must have the folder,
    the model file and the folders of copies under the same paths. The images of a worker that dies are processed again.

    Example:  mlcycle infer dir holiday --out holiday.jsonl

    Example:  mlcycle infer dir archive --out run --redact blur copies --resume

    Example:  mlcycle infer dir archive --out run --engine ray --address auto
    """
    from mlcycle.cli.infer.engine import for_engine
    from mlcycle.cli.infer.private import guarded

    options = InferOptions(
        model=model, require_signature=require_signature, format=format, out=out, annotate=annotate, redact=redact,
        crops=crops, align=align, overwrite=overwrite, threshold=threshold, at=at, provider=provider, threads=threads,
        batch=batch, long_side=long_side, max_pixels=max_pixels, every=every, private=private,
        engine=engine, address=address, videos=videos, resume=resume, retry_failed=retry_failed,
        shard=shard_of(shard),
    )  # fmt: skip
    options = for_engine(options)
    folder = folder.absolute() if private else folder
    with guarded(options, [folder], is_run=options.is_run()) as options:
        _detect_below(folder, options)


@app.command()
def webcam(
    camera: Annotated[int, typer.Argument(metavar="CAMERA", min=0, help="Number of the camera; the first is 0.")] = 0,
    model: ModelOption = None,
    require_signature: RequireSignatureOption = None,
    threshold: ThresholdOption = None,
    at: AtOption = None,
    provider: ProviderOption = Provider.auto,
    threads: LocalThreadsOption = None,
    every: EveryOption = 0,
) -> None:
    """Detect faces in camera frames, one line of JSON each.

    Ctrl-C ends it.

    Example:  mlcycle infer webcam --every 0.5
    """
    from mlcycle.cli.infer import webcam

    options = InferOptions(
        model=model, require_signature=require_signature, threshold=threshold, at=at, provider=provider,
        threads=threads, every=every,
    )  # fmt: skip
    webcam.webcam(camera, options)


@app.command()
def merge(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders written by `mlcycle infer dir --out RUN`.")
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="RUN", help="Write the merged run to this folder.", show_default=False),
    ],
    format: FormatOption = None,
    salvage: Annotated[
        bool, typer.Option("--salvage", help="Save the undamaged records of runs with a damaged ledger.")
    ] = False,
) -> None:
    """Merge runs, such as the shards of a folder, into one.

    Their settings must agree. For an image in several runs, a result takes precedence over an error. A single run is
    converted to another --format, or with --salvage to a run that can be resumed.

    Example:  mlcycle infer merge run-1 run-2 --out run --format csv
    """
    from mlcycle.cli.infer.run import merge as merge_runs

    merge_runs(runs, out, format, salvage=salvage)


@app.command()
def names(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder of --private, with its names.key.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of the run's images.")],
) -> None:
    """Print the hashed names of images in a private run.

    One line of JSON for each image in the folder, with its hashed name and its own. This needs the run's key: without
    RUN/names.key, nobody can match the names.

    Example:  mlcycle infer names run archive | grep 5ad0
    """
    from mlcycle.cli.infer.private import print_names
    from mlcycle.cli.infer.sources import images_below

    print_names(run, images_below(folder, without=[run], videos=True))


def _detect_below(folder: Path, options: InferOptions) -> None:
    from mlcycle.cli.infer.sources import images_below, sources_of

    without = [*options.folders().values(), *([options.out] if options.out else [])]
    found = images_below(folder, without, in_memory=options.private, videos=options.videos)
    sources = partial(sources_of, found, options, keep_tree=True)
    count = sum(1 for _ in sources()) if options.shard else len(found)
    if options.is_run():
        from mlcycle.cli.infer.run import run

        run(folder, sources, count, options)
        return
    from mlcycle.cli.infer.stream import stream

    stream(sources, count, options, faces=False)


def _named(names: list[str], stdin0: bool) -> list[Source]:
    from mlcycle.errors import InputError, UsageError
    from mlcycle.inference.sources import from_listed, from_names

    if not names and not stdin0:
        raise UsageError("no image given", "mlcycle infer photo.jpg, or mlcycle infer FOLDER")
    if names and all(Path(name).is_dir() for name in names):
        raise UsageError(f"{names[0]} is a folder", f"mlcycle infer dir {names[0]}")
    if stdin0 and "-" in names:
        raise UsageError("standard input cannot have both names and an image", "leave out --stdin0 or -")
    found = from_names(names, sys.stdin.buffer.read)
    if stdin0:
        found += from_listed(sys.stdin.buffer.read().split(b"\0"))
    if not found:
        raise InputError("no image names on standard input", "end each name with a zero byte, as find -print0 does")
    return found
