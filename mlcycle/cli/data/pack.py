"""`mlcycle data pack`: labelled sets as tar shards, for data that is larger than memory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlcycle.cli import console
from mlcycle.cli.data.sets import SetPaths, together

# So many images that were left out are named on the terminal; the index has all of them.
NAMED = 20


def pack(
    paths: SetPaths,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="A new folder for the shards.")],
    split: Annotated[str, typer.Option("--split", help="Which part, as train or val; all parts if left out.")] = "",
    shard_size: Annotated[int, typer.Option("--shard-size", metavar="MB", min=1, help="Of each tar, about.")] = 256,
    seed: Annotated[int, typer.Option("--seed", help="Another number packs in another order.")] = 0,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out images that cannot be read, and name them.")
    ] = False,
) -> None:
    """Write sets as tar shards with their labels, to train from data that is larger than memory.

    FOLDER holds PART-000000.tar …, plain tars that WebDataset reads: KEY.jpg with the image's own bytes and
    KEY.json with its labels, in an order drawn at random, so that each shard is a fair sample. A recipe, and every
    command that takes a labelled set, reads FOLDER as it is. Several sets become one, as by merge. Every image is
    decoded once, and what is broken stops the packing. FOLDER appears whole; a packing that was stopped is gone on with
    by the same command. The same sets give the same bytes.

    Example:  mlcycle data pack data/wider --out data/wider-packed
    """
    from mlcycle.datasets.new_folder import must_be_free
    from mlcycle.datasets.packing import Rule
    from mlcycle.datasets.packing import pack as pack_parts

    must_be_free(out)
    parts = together(paths, split, strict=not skip_unreadable)
    rule = Rule(shard_size * 10**6, seed, skip_unreadable)
    many = sum(map(len, parts.values()))
    try:
        with console.progress(f"packing {out}", many) as advance:
            done = pack_parts(parts, out, rule, advance)
    except KeyboardInterrupt:
        console.say("the same command goes on with the shards that are finished")
        raise
    if done.renamed:
        console.say(f"{done.renamed:,} images were given another name, for theirs was taken")
    if done.found:
        console.say(f"{_shards(done.found)} of a packing that was stopped could be kept")
    for name, why in done.left_out[:NAMED]:
        console.warn(f"left out {name}: {why}")
    if done.left_out:
        console.warn(f"{len(done.left_out):,} images were left out; {out / 'index.json'} names them")
    for part, shards in done.shards.items():
        images, size = sum(each.images for each in shards), sum(each.bytes for each in shards)
        title = f"{part}: " if part else ""
        console.say(f"{title}{images:,} images in {_shards(len(shards))}, {size / 1e6:,.0f} MB")
    console.data(str(out))


def _shards(count: int) -> str:
    return f"{count:,} shard{'' if count == 1 else 's'}"
