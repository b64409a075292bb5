"""The images that `mlcycle infer` reads, and the paths of their copies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mlcycle.cli import console
from mlcycle.cli.infer.options import InferOptions

if TYPE_CHECKING:
    from mlcycle.inference.record import Source
    from mlcycle.inference.sources import Folder


def images_below(folder: Path, without: list[Path], *, in_memory: bool = False, videos: bool = False) -> Folder:
    """Returns the images below a folder, and says how many other files are skipped; arguments as in from_folder.

    Raises:
        InputError: no such folder, it cannot be read, or it has no images.
    """
    from mlcycle.errors import InputError
    from mlcycle.inference.sources import from_folder

    found = from_folder(folder, without, in_memory=in_memory, videos=videos)
    skipped = "1 other file skipped" if found.others == 1 else f"{found.others} other files skipped"
    if found.videos:
        skipped += f", {found.videos} of them with a video suffix; --videos includes them"
    if not len(found):
        raise InputError(f"{folder} contains no images", skipped if found.others else "choose another folder")
    if found.others:
        console.say(skipped)
    return found


def sources_of(found: list[Source] | Folder, options: InferOptions, *, keep_tree: bool) -> Iterator[Source]:
    """Yields the shard's images and pages with the paths of their copies, which do not depend on the shard.

    In a private run too, the shard depends on the images' own names; after that only the hashed names are used. Images
    are processed in their order, so that no copy's time of writing tells where its image is among the others.
    """
    from mlcycle.inference.pages_and_frames import split_pages

    sources, shard = iter(found), options.shard
    if options.names:
        if not isinstance(found, list) and options.is_run():
            sources = found.sorted_by(options.names.name)
        sources, shard = options.names.hide(_of_shard(sources, shard)), None
    sources = split_pages(sources)
    if folders := options.folders():
        from mlcycle.inference.copies.image_copies import with_copy_paths

        sources = with_copy_paths(sources, folders, keep_tree=keep_tree)
    return _of_shard(sources, shard)


def _of_shard(sources: Iterator[Source], shard: tuple[int, int] | None) -> Iterator[Source]:
    if shard is None:
        return sources
    from mlcycle.inference.sources import in_shard

    return (source for source in sources if in_shard(source, shard))
