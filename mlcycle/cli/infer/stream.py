"""`mlcycle infer` whose results go to stdout or to one file, as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from mlcycle.cli import console
from mlcycle.cli.infer.model import detector_for, images, options_for, records_of, refuse_taken_copies
from mlcycle.cli.infer.options import Format, InferOptions
from mlcycle.cli.infer.results import results
from mlcycle.cli.infer.tally import Tally, begins_a_file

if TYPE_CHECKING:
    from mlcycle.inference.outputs.formats import Writer
    from mlcycle.inference.record import Source


def stream(sources: Callable[[], Iterator[Source]], count: int, wishes: InferOptions, *, faces: bool) -> None:
    """Looks at images and writes each record at once; exits with 3 if one failed.

    `sources` gives the images as often as it is called, and `count` says how many files they are in; the table
    tells of each of the `faces`, if wanted. The bar counts files, of a single file its images.
    """
    refuse_taken_copies(sources, wishes)
    many = images(sources, count)
    detector = detector_for(wishes, many)
    options = options_for(wishes, detector, many)
    tally = Tally()
    try:
        with (
            _writer(wishes, sources, faces) as writer,
            console.progress("looking", count if count > 1 else None) as advance,
        ):
            for record in records_of(detector, sources(), options, wishes):
                writer.write(record)
                tally.count(record)
                if count == 1 or begins_a_file(record.part):
                    advance()
    finally:
        console.say("; ".join([tally.sentence(), *tally.copies_sentences(wishes)]))
    if tally.failed:
        raise typer.Exit(3)


@contextmanager
def _writer(wishes: InferOptions, sources: Callable[[], Iterator[Source]], faces: bool) -> Iterator[Writer]:
    format = wishes.format or wishes.format_of_suffix() or Format.table
    if format is not Format.table:
        with results(
            wishes.out, format, tree=not faces, overwrite=wishes.overwrite, in_memory=wishes.private
        ) as writer:
            yield writer
        return
    from mlcycle.inference.outputs import formats, output
    from mlcycle.inference.record import title

    with output.open_output(wishes.out, overwrite=wishes.overwrite) as text:
        yield formats.Table(text, (title(source.key, source.part) for source in sources()), faces=faces)
