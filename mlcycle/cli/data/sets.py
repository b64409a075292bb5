"""`mlcycle data stats, convert, merge, split, dedupe`: what is in a set, and sets made of sets."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlcycle.cli import console
from mlcycle.errors import UsageError

if TYPE_CHECKING:
    from mlcycle.datasets.labelled_image import LabelledImage
    from mlcycle.datasets.quality.deduplication import LeftOut

    Parts = dict[str, list[LabelledImage]]


class Layout(StrEnum):
    wider = "wider"
    coco = "coco"
    yolo = "yolo"


class Images(StrEnum):
    link = "link"
    copy = "copy"
    none = "none"


class By(StrEnum):
    name = "name"
    group = "group"


SET_HELP = "A WIDER FACE folder, a COCO json, a YOLO data.yaml, a folder of packed shards."
SetPath = Annotated[Path, typer.Argument(metavar="PATH", help=SET_HELP)]
SetPaths = Annotated[list[Path], typer.Argument(metavar="PATH", help=SET_HELP)]
Split = Annotated[str, typer.Option("--split", help="Which part, as train or val; all parts if left out.")]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="A new folder to write to.")]
To = Annotated[Layout, typer.Option("--to", help="The layout to write.")]
SameTo = Annotated[
    Layout | None, typer.Option("--to", help="The layout to write; that of the (first) set if left out.")
]
Put = Annotated[
    Images, typer.Option("--images", help="Symbolic links to the images, copies of them, or the labels alone.")
]
Json = Annotated[bool, typer.Option("--json", help="JSON instead of text for people.")]


def stats(paths: SetPaths, split: Split = "", as_json: Json = False) -> None:
    """Show what is in a set: images, faces, their sizes at the image's own size and at 640, groups.

    The ranges of heights are those of `mlcycle evaluate`. Of the images only the headers are read.

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


def convert(path: SetPath, out: Out, to: To, split: Split = "", images: Put = Images.link) -> None:
    """Write a set in another layout, with all that the layout can hold; what it cannot is said.

    Boxes and landmarks stay in pixels of the upright image. FOLDER appears whole or not at all.

    Example:  mlcycle data convert data/wider --to yolo --out data/wider-yolo
    """
    from mlcycle.datasets.reading import layout_of, read_parts

    _write(read_parts(path, split), to, out, images, [layout_of(path)])


def merge(paths: SetPaths, out: Out, to: SameTo = None, split: Split = "", images: Put = Images.link) -> None:
    """Write several sets as one; their parts of the same name become one.

    A set that is not divided counts as train where another one is. A name that is taken gets a number behind it.

    Example:  mlcycle data merge data/mine data/theirs --to coco --out data/both
    """
    from mlcycle.datasets.reading import layout_of

    if len(paths) < 2:
        raise UsageError("there is nothing to merge with", "name two sets or more")
    layouts = [layout_of(path) for path in paths]
    wanted = _layout_to_write(to, layouts[0])
    _write(together(paths, split), wanted, out, images, layouts)
    console.say(f"images that are in several of them are there several times: mlcycle data dedupe {out}")


def together(paths: list[Path], split: str, *, strict: bool = True) -> Parts:
    """Returns the parts of several sets, those of the same name as one; `strict` as for `read`."""
    from mlcycle.datasets.reading import read_parts

    read = [read_parts(path, split, strict=strict) for path in paths]
    divided = any(part for parts in read for part in parts)
    whole: Parts = {}
    for parts in read:
        for name, images in parts.items():
            whole.setdefault(name or ("train" if divided else ""), []).extend(images)
    return whole


def _layout_to_write(to: Layout | None, own: str) -> Layout:
    if to is None and own == "shards":
        raise UsageError("the layout to write must be named, for shards are written by pack alone", "say --to coco")
    return to or Layout(own)


def split(
    path: SetPath,
    out: Out,
    shares: Annotated[str, typer.Option("--shares", metavar="NAME=SHARE,…", help="The parts.")] = "train=0.9,val=0.1",
    by: Annotated[By, typer.Option("--by", help="group keeps all images of a group in one part.")] = By.name,
    seed: Annotated[int, typer.Option("--seed", help="Another number divides otherwise.")] = 0,
    of: Annotated[str, typer.Option("--split", help="Divide this part alone; all parts if left out.")] = "",
    to: SameTo = None,
    images: Put = Images.link,
) -> None:
    """Divide a set by shares; images that are the same, or look the same, are in the same part.

    Every image is decoded, to find those that were recompressed or resized.

    Example:  mlcycle data split data/mine --shares train=0.8,val=0.1,test=0.1 --out data/divided
    """
    from mlcycle.datasets import splitting
    from mlcycle.datasets.reading import layout_of, read_parts
    from mlcycle.datasets.writing import must_be_possible

    wanted = splitting.parse_shares(shares)
    layout = layout_of(path)
    target = _layout_to_write(to, layout)
    labelled = [each for part in read_parts(path, of).values() for each in part]
    must_be_possible(dict.fromkeys(wanted, labelled), target.value, out, images.value)
    with console.progress(f"looking at {path}", len(labelled)) as advance:
        parts = splitting.divide(labelled, wanted, by_group=by is By.group, seed=seed, advance=advance)
    _write(parts, target, out, images, [layout])


def dedupe(
    path: SetPath,
    split: Split = "",
    against: Annotated[
        Path | None, typer.Option("--against", metavar="PATH", help="Leave out what is in this set, too.")
    ] = None,
    against_split: Annotated[str, typer.Option("--against-split", help="Which part of that set.")] = "",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FOLDER", help="Write the set without them: a new folder.")
    ] = None,
    to: SameTo = None,
    images: Put = Images.link,
    as_json: Json = False,
) -> None:
    """List images that are in a set more than once, recompressed and resized ones too, and write it without them.

    The one with the most labelled faces is kept, of these the one with the most pixels. No image is deleted.

    Example:  mlcycle data dedupe data/both --against data/wider --against-split val --out data/clean
    """
    from mlcycle.datasets.quality.deduplication import find_duplicates
    from mlcycle.datasets.reading import layout_of, read_parts
    from mlcycle.datasets.writing import must_be_possible

    if against_split and against is None:
        raise UsageError("--against-split needs --against", "name the other set: --against PATH")
    if to is not None and out is None:
        raise UsageError("--to needs --out", "without it nothing is written")
    layout = layout_of(path)
    parts = read_parts(path, split)
    if out is not None:
        target = _layout_to_write(to, layout)
        must_be_possible(parts, target.value, out, images.value)
    own = [each for part in parts.values() for each in part]
    others = [each for part in read_parts(against, against_split).values() for each in part] if against else []
    with console.progress(f"looking at {path}", len(own) + len(others)) as advance:
        left_out = find_duplicates(own, others, advance=advance)
    _list_duplicates(left_out, [*own, *others], len(own), as_json)
    if out is not None:
        gone = {id(own[each.image]) for each in left_out}
        rest = {name: [each for each in part if id(each) not in gone] for name, part in parts.items()}
        _write(rest, target, out, images, [layout], to_stdout=False)


def _list_duplicates(left_out: list[LeftOut], both: list[LabelledImage], own: int, as_json: bool) -> None:
    def record(each: LeftOut) -> dict[str, Any]:
        image, kept = both[each.image], both[each.kept]
        named = {"image": image.name, "path": str(image.path), "why": each.why}
        return named | {"kept": kept.name, "kept_path": str(kept.path), "kept_in_other_set": each.kept >= own}

    records = [record(each) for each in left_out]
    if as_json:
        import json

        console.data(json.dumps({"schema_version": 1, "images": own, "left_out": records}, indent=2))
        return
    for kept in dict.fromkeys((each["kept_path"], each["kept"], each["kept_in_other_set"]) for each in records):
        console.data(f"{kept[1]}{' of the other set' if kept[2] else ''}")
        for each in records:
            if each["kept_path"] == kept[0]:
                console.data(f"  {each['image']} {each['why']}")
    console.data(f"{len(left_out):,} of {own:,} images are there already")


def _write(parts: Parts, to: Layout, out: Path, images: Images, layouts: list[str], *, to_stdout: bool = True) -> None:
    from mlcycle.datasets.writing import write_set

    many = sum(map(len, parts.values()))
    with console.progress(f"writing {out}", many) as advance:
        lost = write_set(parts, to.value, out, images=images.value, advance=advance)
    if "wider" in layouts:
        lost.append("blur, expression, illumination, occlusion and pose of WIDER FACE are left out")
    if "coco" in layouts:
        lost.append("ids and info of the COCO file, and whatever is no face, are left out")
    for sentence in lost:
        console.say(sentence)
    counts = ", ".join(f"{len(part):,} in {name}" if name else f"{len(part):,}" for name, part in parts.items())
    console.say(f"{to.value}, images: {counts}")
    if images is Images.link:
        console.say("the images are links; with --images copy the folder stands alone")
    if to_stdout:
        console.data(str(out))
    else:
        console.say(f"the set without them is {out}")
