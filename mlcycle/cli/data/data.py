"""`mlcycle data`: labelled sets: check them, look at them, fetch them, build the demo's."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlcycle.cli import console
from mlcycle.cli.data import label, pack, sets, suspects
from mlcycle.cli.data.sets import SetPath, SetPaths
from mlcycle.cli.group import Group
from mlcycle.errors import DataError, UsageError
from mlcycle.extras import extra

if TYPE_CHECKING:
    from mlcycle.datasets.fetch.manifest import Manifest
    from mlcycle.datasets.labelled_image import LabelledImage
    from mlcycle.datasets.quality.findings import Report

app = typer.Typer(cls=Group)


class Format(StrEnum):
    table = "table"
    json = "json"


@app.callback()
def data() -> None:
    """Check, look at and fetch labelled images.

    Example:  mlcycle data check data/demo
    """


@app.command()
def check(
    paths: SetPaths,
    split: Annotated[str, typer.Option("--split", help="Which part, as train or val; all parts if left out.")] = "",
    against: Annotated[
        Path | None, typer.Option("--against", metavar="PATH", help="A set that must share no image with it.")
    ] = None,
    against_split: Annotated[str, typer.Option("--against-split", help="Which part of that set.")] = "",
    output: Annotated[Format, typer.Option("--format", help="A table for people, or JSON with all findings.")] = (
        Format.table
    ),
) -> None:
    """Decode every image and hold it against its labels and the others; exit 3 on errors.

    Errors: images that are missing, broken or of another size than labelled, boxes that are empty, no numbers or
    outside, images that are also in the set named by --against. Warnings: EXIF-turned files, images or boxes
    that are there twice. Without --split all parts are checked, and each is held against those after it.

    Example:  mlcycle data check data/wider --split train --against data/wider --against-split val
    """
    import json

    from mlcycle.datasets.quality.findings import SCHEMA_VERSION
    from mlcycle.datasets.reading import read

    if against_split and against is None:
        raise UsageError("--against-split needs --against", "name the other set: --against PATH")
    held_against = read(against, against_split, strict=False) if against else []
    sets, errors = [], 0
    for path in paths:
        _must_be_whole(path, split)
        for part, images, others in _parts(path, split, held_against):
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
        raise DataError(
            f"the check found {errors:,} error{'s' * (errors != 1)}", "correct them, or take these images out"
        )


@app.command()
def preview(
    path: SetPath,
    split: Annotated[str, typer.Option("--split", help="Which part of the set, as train or val.")] = "",
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="Where to: .jpg, .png or .webp.")] = Path(
        "sheet.jpg"
    ),
    count: Annotated[int, typer.Option("--count", min=1, max=400, help="How many images.")] = 24,
    seed: Annotated[int, typer.Option("--seed", help="Another number chooses other images.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE if it is there.")] = False,
) -> None:
    """Write a contact sheet: some images with their boxes and landmarks drawn in.

    Example:  mlcycle data preview data/wider --split train -o sheet.jpg
    """
    from mlcycle.datasets.quality.preview import choose, draw_sheet, must_be_free, write_sheet
    from mlcycle.datasets.reading import read

    must_be_free(out, overwrite=overwrite)
    images = read(path, split, strict=False)
    chosen = choose(images, count, seed)
    title = f"{_title(path, split)}: {len(chosen):,} of {len(images):,} images"
    with console.progress("drawing", len(chosen)) as advance:
        sheet = draw_sheet(chosen, title, advance)
    write_sheet(sheet, out, overwrite=overwrite)
    console.data(str(out))


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The set: wider-face.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to.")],
    yes: Annotated[bool, typer.Option("--yes", help="Accept the terms without being asked.")] = False,
    mirror: Annotated[
        str, typer.Option("--mirror", metavar="URL", help="Fetch all files from below this address.")
    ] = "",
    sha256: Annotated[
        list[str] | None, typer.Option("--sha256", metavar="NAME=HEX", help="The checksum that a file must have.")
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option("--manifest", metavar="FILE", help="YAML with other urls, sizes, checksums.")
    ] = None,
) -> None:
    """Fetch a data set from where its authors publish it: 1.8 GB for wider-face.

    The terms are shown first. A download that was broken off goes on; checksums are compared; the archives stay in
    DIR/downloads. This is the only command of mlcycle that uses the network.

    Example:  mlcycle data fetch wider-face data/wider
    """
    from mlcycle.datasets.fetch.fetching import fetch as fetch_set

    chosen = _manifest(name, mirror, sha256 or [], manifest)
    _agree(chosen.terms, yes)
    for file, digest in fetch_set(chosen, folder, progress=console.progress, say=console.say):
        console.data(f"{digest}  {file}")
    console.say(f"next: mlcycle data check {folder}")


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to.")] = Path("data/demo"),
) -> None:
    """Build the demo's labelled scenes from images that installed packages bring; takes seconds.

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
app.command("label")(label.label)


def _must_be_whole(path: Path, split: str) -> None:
    """Packed shards have a sha256 each, which finds what no decoder notices."""
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
    """The parts to check, each with the images that it is held against."""
    from mlcycle.datasets.reading import read, splits

    parts = [split] if split else splits(path)
    sets = [read(path, part, strict=False) for part in parts]
    for index, part in enumerate(parts):
        after = [image for later in sets[index + 1 :] for image in later]
        yield part, sets[index], against or after


def _checked(images: list[LabelledImage], others: list[LabelledImage], description: str) -> Report:
    from mlcycle.datasets.quality.checking import check as check_set

    with console.progress(description, len(images) + len(others)) as advance:
        return check_set(images, others, advance=advance)


def _print_report(report: Report, title: str) -> None:
    from shutil import get_terminal_size

    from mlcycle.datasets.quality.report_text import report_text

    console.data(report_text(report, title, get_terminal_size().columns) + "\n")


def _manifest(name: str, mirror: str, checksums: list[str], file: Path | None) -> Manifest:
    from mlcycle.datasets.fetch import manifest

    if name not in manifest.KNOWN:
        raise UsageError(f"there is no data set {name} to fetch", f"there is: {', '.join(manifest.KNOWN)}")
    chosen = manifest.KNOWN[name]
    if mirror:
        chosen = manifest.at_mirror(chosen, mirror)
    if file:
        chosen = manifest.read_manifest(file, chosen)
    changes: dict[str, dict[str, Any]] = dict(manifest.parse_checksums(checksums))
    return manifest.change(chosen, changes)


def _agree(terms: str, yes: bool) -> None:
    # Shown also with -q: whoever accepts terms must have had them before the eyes.
    sys.stderr.write(f"{terms}\n\n")
    if yes:
        return
    if not (sys.stdin.isatty() and console.is_terminal()):
        raise UsageError("the terms must be accepted first", "read them above; --yes accepts them")
    if not typer.confirm("Do you accept these terms?", err=True):
        raise UsageError("the terms were not accepted, so nothing was fetched")
