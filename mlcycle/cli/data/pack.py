"""`mlcycle data pack`: labelled sets as tar shards, for data that is larger than memory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlcycle.cli import console
from mlcycle.cli.data.options import SetPaths, Split
from mlcycle.cli.data.sets import merge_parts
from mlcycle.counted import counted

# The number of left-out images that are listed on the terminal; the index lists all of them.
LISTED = 20


def pack(
    paths: SetPaths,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Write the shards to this new folder.")],
    split: Split = "",
    shard_size: Annotated[
        int, typer.Option("--shard-size", metavar="MB", min=1, help="Start a new tar at about this size in MB.")
    ] = 256,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Random seed; another one gives another order.")] = 0,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out unreadable images, and list them.")
    ] = False,
) -> None:
    """Pack sets as tar shards, for training data larger than memory.

    FOLDER gets SPLIT-000000.tar and so on, plain tars that WebDataset reads: KEY.jpg with the unchanged bytes of an
    image and KEY.json with its labels, in random order, so that each shard is a random sample. Recipes and all
    commands that read labelled sets read FOLDER as it is. Several sets become one, as with merge. Every image is
    decoded once; an unreadable one ends the command. FOLDER appears complete or not at all, and the same command
    resumes after an interruption. The same sets give the same bytes.

    Example:  mlcycle data pack data/wider --out data/wider-packed
    """
    from mlcycle.datasets.new_folder import must_be_free
    from mlcycle.datasets.packing import PackOptions
    from mlcycle.datasets.packing import pack as pack_parts
    from mlcycle.datasets.set_names import renamed_note

    must_be_free(out)
    parts = merge_parts(paths, split, strict=not skip_unreadable)
    options = PackOptions(shard_size * 10**6, seed, skip_unreadable)
    total = sum(map(len, parts.values()))
    try:
        with console.progress(f"packing {out}", total) as advance:
            done = pack_parts(parts, out, options, advance)
    except KeyboardInterrupt:
        console.say("run the same command again: it keeps the finished shards")
        raise
    if done.renamed:
        console.say(renamed_note(done.renamed))
    if done.resumed:
        console.say(f"kept {counted(done.resumed, 'shard')} of an interrupted run")
    for name, why in done.left_out[:LISTED]:
        console.warn(f"left out {name}: {why}")
    if done.left_out:
        console.warn(f"left out {counted(len(done.left_out), 'image')}; {out / 'index.json'} lists them")
    for part, shards in done.shards.items():
        images, size = sum(each.images for each in shards), sum(each.bytes for each in shards)
        title = f"{part}: " if part else ""
        console.say(f"{title}{counted(images, 'image')} in {counted(len(shards), 'shard')}, {size / 1e6:,.0f} MB")
    console.data(str(out))
