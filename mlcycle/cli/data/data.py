"""`mlcycle data`: the group of commands for labelled image sets; check, preview, fetch and demo."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlcycle.cli import console
from mlcycle.cli.data import label, negatives, pack, sets, suspects
from mlcycle.cli.data.options import AgainstSplit, OneSplit, SetPath, SetPaths, Split
from mlcycle.cli.group import Group
from mlcycle.counted import counted
from mlcycle.errors import DataError, UsageError
from mlcycle.extras import extra

if TYPE_CHECKING:
    from mlcycle.datasets.fetch.manifest import Manifest
    from mlcycle.datasets.labelled_image import LabelledImage
    from mlcycle.datasets.quality.findings import CheckReport

app = typer.Typer(cls=Group)


class Format(StrEnum):
    table = "table"
    json = "json"


@app.callback()
def data() -> None:
    """Fetch, check, view, convert, split, pack and label sets of images.

    Example:  mlcycle data check data/demo
    """


@app.command()
def check(
    paths: SetPaths,
    split: Split = "",
    against: Annotated[
        Path | None, typer.Option("--against", metavar="PATH", help="Report images that are also in this set.")
    ] = None,
    against_split: AgainstSplit = "",
    output: Annotated[Format, typer.Option("--format", help="Print a table, or JSON with all findings.")] = (
        Format.table
    ),
) -> None:
    """Check the images and labels of a set; exit 3 on errors.

    Every image is decoded. Errors are images that are missing, broken or not of the labelled size, boxes that
    are empty, not finite or outside of the image, and images that are also in the set of --against. Warnings are
    images that EXIF rotates, duplicate and near-duplicate images, and duplicate boxes. Without --split all splits
    are checked, and each is compared with those after it.

    Example:  mlcycle data check data/wider --split train --against data/wider --against-split val
    """
    import json

    from mlcycle.datasets.quality.findings import SCHEMA_VERSION
    from mlcycle.datasets.reading import read

    if against_split and against is None:
        raise UsageError("--against-split needs --against", "pass the other set with --against PATH")
    reference = read(against, against_split, strict=False) if against else []
    sets, errors = [], 0
    for path in paths:
        _check_shards(path, split)
        for part, images, others in _parts(path, split, reference):
            report = _checked(images, others, f"checking {_title(path, part)}")
            sets.append({"path": str(path), "split": part, **report.to_dict()})
            errors += report.errors
            if output is Format.table:
                _print_report(report, _title(path, part))
    if output is Format.json:
        console.data(
            json.dumps({"schema_version": SCHEMA_VERSION, "sets": sets}, indent=2, ensure_ascii=False, allow_nan=False)
        )
    if errors:
        raise DataError(f"the check found {counted(errors, 'error')}", "correct them, or remove these images")


@app.command()
def preview(
    path: SetPath,
    split: OneSplit = "",
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FILE", help="Write this .jpg, .png or .webp file.")
    ] = Path("sheet.jpg"),
    count: Annotated[int, typer.Option("--count", metavar="N", min=1, max=400, help="Draw this many images.")] = 24,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="Random seed; another one selects other images.")
    ] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE if it exists.")] = False,
) -> None:
    """Write a contact sheet of random images with their labels drawn.

    Example:  mlcycle data preview data/wider --split train -o sheet.jpg
    """
    from mlcycle.datasets.quality.preview import choose, draw_sheet, must_be_free, write_sheet
    from mlcycle.datasets.reading import read

    must_be_free(out, overwrite=overwrite)
    images = read(path, split, strict=False)
    selected = choose(images, count, seed)
    title = f"{_title(path, split)}: {len(selected):,} of {counted(len(images), 'image')}"
    with console.progress("drawing", len(selected)) as advance:
        sheet = draw_sheet(selected, title, advance)
    write_sheet(sheet, out, overwrite=overwrite)
    console.data(str(out))


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The data set: wider-face.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write to.")],
    yes: Annotated[bool, typer.Option("--yes", help="Accept the license terms without a prompt.")] = False,
    mirror: Annotated[
        str, typer.Option("--mirror", metavar="URL", help="Download all files from below this address.")
    ] = "",
    sha256: Annotated[
        list[str] | None,
        typer.Option("--sha256", metavar="NAME=HEX", help="Require this checksum of a file; repeat for more."),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option("--manifest", metavar="FILE", help="Read other urls, sizes and checksums from this YAML file."),
    ] = None,
) -> None:
    """Download a published data set: 1.8 GB for wider-face.

    The license terms are shown first. An interrupted download is resumed, checksums are verified, and the archives
    stay in DIR/downloads. No other `mlcycle data` command uses the network.

    Example:  mlcycle data fetch wider-face data/wider
    """
    from mlcycle.datasets.fetch.fetching import fetch as fetch_set

    published = _manifest(name, mirror, sha256 or [], manifest)
    _accept(published.terms, yes)
    for file, digest in fetch_set(published, folder, progress=console.progress, say=console.say):
        console.data(f"{digest}  {file}")
    console.say(f"next: mlcycle data check {folder}")


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write to.")] = Path("data/demo"),
) -> None:
    """Build the demo set from images of installed packages.

    Example:  mlcycle data demo data/demo
    """
    with extra("demo", "mlcycle data demo"):
        from mlcycle.demo.scenes import build_scenes

        summary = build_scenes(folder)
    console.data(summary)


for command in (sets.stats, sets.convert, sets.merge, sets.split, sets.dedupe):
    app.command(command.__name__)(command)
app.command("pack")(pack.pack)
app.command("suspects")(suspects.suspects)
app.command("negatives")(negatives.negatives)
app.command("label")(label.label)


def _check_shards(path: Path, split: str) -> None:
    """Verifies the sha256 of packed shards, which finds damage that decoders do not notice."""
    from mlcycle.datasets.reading import layout_of
    from mlcycle.datasets.shards import packed

    if layout_of(path) == "shards":
        with console.progress(f"reading the shards of {path}", packed.size_of(path, split)) as advance:
            packed.must_be_whole(path, split, advance)


def _title(path: Path, split: str) -> str:
    return f"{path}, split {split}" if split else str(path)


def _parts(
    path: Path, split: str, against: list[LabelledImage]
) -> Iterator[tuple[str, list[LabelledImage], list[LabelledImage]]]:
    """Yields the splits to check, each with the images that it is compared with."""
    from mlcycle.datasets.reading import read, splits

    parts = [split] if split else splits(path)
    sets = [read(path, part, strict=False) for part in parts]
    for index, part in enumerate(parts):
        after = [image for later in sets[index + 1 :] for image in later]
        yield part, sets[index], against or after


def _checked(images: list[LabelledImage], others: list[LabelledImage], description: str) -> CheckReport:
    from mlcycle.datasets.quality.checking import check as check_set

    with console.progress(description, len(images) + len(others)) as advance:
        return check_set(images, others, advance=advance)


def _print_report(report: CheckReport, title: str) -> None:
    from shutil import get_terminal_size

    from mlcycle.datasets.quality.report_text import report_text

    console.data(report_text(report, title, get_terminal_size().columns) + "\n")


def _manifest(name: str, mirror: str, checksums: list[str], file: Path | None) -> Manifest:
    from mlcycle.datasets.fetch import manifest

    if name not in manifest.KNOWN:
        raise UsageError(f"no such data set: {name}", f"available: {', '.join(manifest.KNOWN)}")
    published = manifest.KNOWN[name]
    if mirror:
        published = manifest.at_mirror(published, mirror)
    if file:
        published = manifest.read_manifest(file, published)
    changes: dict[str, dict[str, Any]] = dict(manifest.parse_checksums(checksums))
    return manifest.change(published, changes)


def _accept(terms: str, yes: bool) -> None:
    # Shown with -q too: terms are accepted only after they were shown.
    sys.stderr.write(f"{terms}\n\n")
    if yes:
        return
    if not (sys.stdin.isatty() and console.is_terminal()):
        raise UsageError("the license terms must be accepted first", "read them above and add --yes")
    if not typer.confirm("Do you accept these terms?", err=True):
        raise UsageError("the license terms were not accepted; nothing was downloaded")
