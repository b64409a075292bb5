"""`mlcycle infer` with results on stdout or in one file, written as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from mlcycle.cli import console
from mlcycle.cli.infer.model import check_outputs, count_images, detect_options, load_model, records_of
from mlcycle.cli.infer.options import Format, InferOptions
from mlcycle.cli.infer.tally import tallied
from mlcycle.inference.record import is_first_of_file
from mlcycle.inference.tally import Doubtful, Tally

if TYPE_CHECKING:
    from mlcycle.inference.outputs.formats import Writer
    from mlcycle.inference.record import Source


def stream(sources: Callable[[], Iterator[Source]], count: int, options: InferOptions, *, faces: bool) -> None:
    """Detects faces in images and writes each record at once; exits with 3 if one failed.

    Args:
        sources: yields the images, each time it is called.
        count: number of files; the progress bar counts them, or the images in a single one.
        faces: whether the table has a line for each face.
    """
    check_outputs(sources, options)
    images = count_images(sources, count)
    detector = load_model(options, images)
    detection = detect_options(options, detector, images)
    tally = Tally()
    if options.redact:
        tally.doubtful = Doubtful(detector.contract.thresholds["balanced"])
    total = None if count == 1 < images else count
    with (
        tallied(tally, options),
        _writer(options, sources, faces) as writer,
        console.progress("detecting", total, beside_data=options.out is None) as advance,
    ):
        for record in records_of(detector, sources(), detection, options):
            writer.write(record)
            tally.count(record)
            if count == 1 or is_first_of_file(record.part):
                advance()
    if tally.failed:
        raise typer.Exit(3)


@contextmanager
def _writer(options: InferOptions, sources: Callable[[], Iterator[Source]], faces: bool) -> Iterator[Writer]:
    format = options.format or options.format_of_suffix() or Format.table
    if format is not Format.table:
        from mlcycle.inference.outputs.results import open_results

        with open_results(
            options.out, format, tree=not faces, overwrite=options.overwrite, in_memory=options.private
        ) as writer:
            yield writer
        return
    from mlcycle.inference.outputs import formats, output
    from mlcycle.inference.record import title

    with output.open_output(options.out, overwrite=options.overwrite) as text:
        yield formats.Table(text, (title(source.key, source.part) for source in sources()), faces=faces)
