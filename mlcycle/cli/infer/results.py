"""Where the records of `mlcycle infer` go, in every format that needs nothing but records."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mlcycle.cli.infer.options import Format

if TYPE_CHECKING:
    from mlcycle.inference.outputs.formats import Writer


@contextmanager
def results(
    out: Path | None, format: Format, *, tree: bool, overwrite: bool, in_memory: bool = False
) -> Iterator[Writer]:
    """Opens the file, the folder of labels, or stdout, which takes its name only when the block has ended well.

    Args:
        tree: whether labels keep the folders of their images.
        in_memory: whether what can be written at the end alone is kept in memory, and not in a temporary file.
    """
    if format is Format.yolo:
        from mlcycle.inference.outputs import yolo_labels

        assert out is not None
        with yolo_labels.opened(out, tree=tree, overwrite=overwrite) as labels:
            yield labels
        return
    from mlcycle.inference.outputs import formats, output

    must_be_installed(format)
    writers = dict(formats.WRITERS)
    if format is Format.parquet:
        from mlcycle.inference.outputs.parquet import Parquet

        writers["parquet"] = Parquet
    if in_memory:
        writers["coco"] = lambda text: formats.Coco(text, io.StringIO())
    with output.open_output(out, overwrite=overwrite) as text:
        writer = writers[format.value](text)
        try:
            yield writer
        except BaseException:
            with suppress(OSError):  # what was done so far is whole; and what was raised first counts
                writer.close()
            raise
        writer.close()


def must_be_installed(format: Format | None) -> None:
    """Raises MissingExtraError if a format needs packages that are not there, before hours are spent on its records."""
    if format is Format.parquet:
        from mlcycle.extras import extra

        with extra("parquet", "the format parquet"):
            import mlcycle.inference.outputs.parquet  # noqa: F401
