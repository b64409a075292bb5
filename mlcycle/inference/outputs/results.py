"""Opens the output for records in any format: a file, a folder of labels, or stdout."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlcycle.inference.outputs.formats import Writer


@contextmanager
def open_results(
    out: Path | None, format: str, *, tree: bool, overwrite: bool, in_memory: bool = False
) -> Iterator[Writer]:
    """Opens a file, a folder of labels, or stdout (None); files get their names only when the block ends normally.

    Args:
        format: json, jsonl, csv, coco, yolo or parquet.
        tree: whether labels keep the folders of their images.
        in_memory: whether data needed only at the end is kept in memory instead of in a temporary file.

    Raises:
        MissingExtraError: the packages for the format are not installed.
        InputError: the output exists and `overwrite` is off, or it cannot be written.
    """
    if format == "yolo":
        from mlcycle.inference.outputs import yolo_labels

        assert out is not None
        with yolo_labels.open_labels(out, tree=tree, overwrite=overwrite) as labels:
            yield labels
        return
    from mlcycle.inference.outputs import formats, output

    must_be_installed(format)
    writers = dict(formats.WRITERS)
    if format == "parquet":
        from mlcycle.inference.outputs.parquet import Parquet

        writers["parquet"] = Parquet
    if in_memory:
        writers["coco"] = lambda text: formats.Coco(text, io.StringIO)
    with output.open_output(out, overwrite=overwrite) as text:
        writer = writers[format](text)
        try:
            yield writer
        except BaseException:
            with suppress(OSError):  # keeps what was written so far; the first error is raised
                writer.close()
            raise
        writer.close()


def must_be_installed(format: str | None) -> None:
    """Raises MissingExtraError if the packages for a format are missing, before hours are spent on its records."""
    if format == "parquet":
        from mlcycle.extras import extra

        with extra("parquet", "the format parquet"):
            import mlcycle.inference.outputs.parquet  # noqa: F401
