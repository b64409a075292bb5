"""`mlcycle data stats, convert, merge, split, dedupe`: statistics of a set, and new sets made from sets."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlcycle.cli import console
from mlcycle.cli.data.options import (
    AgainstSplit,
    ImageFiles,
    Images,
    Json,
    Layout,
    Out,
    SameTo,
    SetPath,
    SetPaths,
    Split,
    To,
)
from mlcycle.errors import UsageError

if TYPE_CHECKING:
    from mlcycle.datasets.labelled_image import LabelledImage
    from mlcycle.datasets.quality.deduplication import LeftOut

    Parts = dict[str, list[LabelledImage]]


DEDUPE_SCHEMA_VERSION = 2


class By(StrEnum):
    name = "name"
    group = "group"


def stats(paths: SetPaths, split: Split = "", as_json: Json = False) -> None:
    """Show the numbers and sizes of images, faces and groups of a set.

    The heights of faces are counted in pixels of the image, and of the image resized to a long side of 640 pixels, in
    the ranges of `mlcycle evaluate`. Only the headers of the images are read.

    Example:  mlcycle data stats data/wider --split train
    """
    import json
    from shutil import get_terminal_size

    from mlcycle.datasets.quality import statistics, statistics_text
    from mlcycle.datasets.reading import read_parts
    from mlcycle.evaluation.sizes import BY_HEIGHT

    ranges = {each.name: (each.least, each.most) for each in BY_HEIGHT}
    sets = []
    for path in paths:
        for part, images in read_parts(path, split, strict=False).items():
            with console.progress(f"reading {path}", len(images)) as advance:
                found = statistics.describe(images, ranges, advance)
            sets.append({"path": str(path), "split": part, **found.to_dict()})
            if not as_json:
                title = f"{path}, split {part}" if part else str(path)
                console.data(statistics_text.statistics_text(found, title, get_terminal_size().columns) + "\n")
    if as_json:
        content = {"schema_version": statistics.SCHEMA_VERSION, "sets": sets}
        console.data(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))


def convert(path: SetPath, out: Out, to: To, split: Split = "", images: ImageFiles = Images.link) -> None:
    """Convert a set to another layout.

    Boxes and landmarks still refer to the upright image. Messages list what the layout cannot hold. FOLDER appears
    complete or not at all.

    Example:  mlcycle data convert data/wider --to yolo --out data/wider-yolo
    """
    from mlcycle.datasets.reading import layout_of, read_parts

    _write(read_parts(path, split), to, out, images, [layout_of(path)])


def merge(paths: SetPaths, out: Out, to: SameTo = None, split: Split = "", images: ImageFiles = Images.link) -> None:
    """Merge several sets into one; splits of the same name become one.

    If one set has splits, a set without splits becomes part of train. An image name that is taken gets a number
    appended.

    Example:  mlcycle data merge data/mine data/theirs --to coco --out data/both
    """
    from mlcycle.datasets.reading import layout_of

    if len(paths) < 2:
        raise UsageError("merge needs two sets or more", "pass another set")
    layouts = [layout_of(path) for path in paths]
    target = _layout_to_write(to, layouts[0])
    _write(merge_parts(paths, split), target, out, images, layouts)
    console.say(f"to remove images that are in several sets: mlcycle data dedupe {out}")


def merge_parts(paths: list[Path], split: str, *, strict: bool = True) -> Parts:
    """Returns the splits of several sets, merged by name; `strict` as for `read`."""
    from mlcycle.datasets.reading import read_parts

    sets = [read_parts(path, split, strict=strict) for path in paths]
    have_splits = any(part for parts in sets for part in parts)
    merged: Parts = {}
    for parts in sets:
        for name, images in parts.items():
            merged.setdefault(name or ("train" if have_splits else ""), []).extend(images)
    return merged


def _layout_to_write(to: Layout | None, source: str) -> Layout:
    if to is None and source == "shards":
        raise UsageError("shards are written by mlcycle data pack only", "choose another layout, for example --to coco")
    return to or Layout(source)


def split(
    path: SetPath,
    out: Out,
    shares: Annotated[
        str, typer.Option("--shares", metavar="NAME=SHARE,…", help="Make these splits; the shares add up to 1.")
    ] = "train=0.9,val=0.1",
    by: Annotated[
        By, typer.Option("--by", help="Split single images, or keep the images of a group in one split.")
    ] = By.name,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Random seed; another one splits differently.")] = 0,
    source_split: Split = "",
    to: SameTo = None,
    images: ImageFiles = Images.link,
) -> None:
    """Split a set by shares, with duplicates in the same split.

    Every image is decoded, so that near duplicates, such as recompressed or resized images, share a split too.

    Example:  mlcycle data split data/mine --shares train=0.8,val=0.1,test=0.1 --out data/split
    """
    from mlcycle.datasets import splitting
    from mlcycle.datasets.reading import layout_of, read_parts
    from mlcycle.datasets.writing import must_be_possible

    parsed = splitting.parse_shares(shares)
    layout = layout_of(path)
    target = _layout_to_write(to, layout)
    labelled = [each for part in read_parts(path, source_split).values() for each in part]
    must_be_possible(dict.fromkeys(parsed, labelled), target.value, out, images.value)
    with console.progress(f"comparing images of {path}", len(labelled)) as advance:
        parts = splitting.split_set(labelled, parsed, by_group=by is By.group, seed=seed, advance=advance)
    _write(parts, target, out, images, [layout])


def dedupe(
    path: SetPath,
    split: Split = "",
    against: Annotated[
        Path | None, typer.Option("--against", metavar="PATH", help="Leave out duplicates of images of this set too.")
    ] = None,
    against_split: AgainstSplit = "",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FOLDER", help="Write the set without duplicates to this new folder."),
    ] = None,
    to: SameTo = None,
    images: ImageFiles = Images.link,
    as_json: Json = False,
) -> None:
    """List duplicate images of a set, and write it without them.

    Near duplicates, such as recompressed and resized images, count as well. Of several duplicates the one with the
    most labelled faces is kept, of these the one with the most pixels. No image is deleted.

    Example:  mlcycle data dedupe data/both --against data/wider --against-split val --out data/clean
    """
    from mlcycle.datasets.quality.deduplication import find_duplicates
    from mlcycle.datasets.reading import layout_of, read_parts
    from mlcycle.datasets.writing import must_be_possible

    if against_split and against is None:
        raise UsageError("--against-split needs --against", "pass the other set with --against PATH")
    if to is not None and out is None:
        raise UsageError("--to needs --out", "pass the folder to write to with --out")
    layout = layout_of(path)
    parts = read_parts(path, split)
    if out is not None:
        target = _layout_to_write(to, layout)
        must_be_possible(parts, target.value, out, images.value)
    own = [each for part in parts.values() for each in part]
    others = [each for part in read_parts(against, against_split).values() for each in part] if against else []
    with console.progress(f"comparing images of {path}", len(own) + len(others)) as advance:
        left_out = find_duplicates(own, others, advance=advance)
    _list_duplicates(left_out, [*own, *others], len(own), as_json)
    if out is not None:
        duplicates = {id(own[each.image]) for each in left_out}
        rest = {name: [each for each in part if id(each) not in duplicates] for name, part in parts.items()}
        _write(rest, target, out, images, [layout], to_stdout=False)


def _list_duplicates(left_out: list[LeftOut], both: list[LabelledImage], own: int, as_json: bool) -> None:
    def record(each: LeftOut) -> dict[str, Any]:
        image, kept = both[each.image], both[each.kept]
        named = {"image": image.name, "path": str(image.path), "why": each.why}
        return named | {"kept": kept.name, "kept_path": str(kept.path), "kept_in_other_set": each.kept >= own}

    records = [record(each) for each in left_out]
    if as_json:
        import json

        console.data(
            json.dumps({"schema_version": DEDUPE_SCHEMA_VERSION, "images": own, "left_out": records}, indent=2)
        )
        return
    for kept in dict.fromkeys((each["kept_path"], each["kept"], each["kept_in_other_set"]) for each in records):
        console.data(f"{kept[1]}{' of the other set' if kept[2] else ''}")
        for each in records:
            if each["kept_path"] == kept[0]:
                console.data(f"  {each['image']} {each['why']}")
    console.data(f"{len(left_out):,} of {own:,} images are duplicates")


def _write(parts: Parts, to: Layout, out: Path, images: Images, layouts: list[str], *, to_stdout: bool = True) -> None:
    from mlcycle.datasets.writing import write_set

    total = sum(map(len, parts.values()))
    with console.progress(f"writing {out}", total) as advance:
        notes = write_set(parts, to.value, out, images=images.value, advance=advance)
    if "wider" in layouts:
        notes.append("blur, expression, illumination, occlusion and pose of WIDER FACE are left out")
    if "coco" in layouts:
        notes.append("ids and info of the COCO file, and other categories than faces, are left out")
    for note in notes:
        console.say(note)
    counts = ", ".join(f"{len(part):,} in {name}" if name else f"{len(part):,}" for name, part in parts.items())
    console.say(f"{to.value}, images: {counts}")
    if images is Images.link:
        console.say("the images are links; --images copy makes the folder self-contained")
    if to_stdout:
        console.data(str(out))
    else:
        console.say(f"the set without duplicates is {out}")
