"""`mlcycle redact FOLDER --out RUN --decisions FILE`: the second pass, after a review."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path

from mlcycle.cli import console
from mlcycle.cli.infer.options import InferOptions
from mlcycle.cli.infer.private import guarded
from mlcycle.cli.infer.sources import images_below, sources_of
from mlcycle.cli.redact.review import Review, finish, images_of
from mlcycle.counted import counted
from mlcycle.errors import InputError
from mlcycle.inference.batch_run import BatchRun
from mlcycle.redacting import decisions, passes, second_pass


def decide(folder: Path, file: Path, by: str | None, given: InferOptions, review: Review) -> None:
    """Writes the decisions of a file into the ledger of the run in --out, and new copies of the images they change.

    Raises:
        InputError: the file is not one of this run's, an image has changed, or there is no such run.
        UsageError: the run is private and the options are not, or the other way round.
    """
    read = decisions.read(file)
    folder = folder.absolute() if given.private else folder
    with guarded(given, [folder], is_run=True) as options:
        assert options.out is not None
        run = BatchRun.resume(options.out, {"private": "yes" if options.private else None})
        if run is None:
            raise InputError(f"no run in {options.out}", "redact the folder first, without --decisions")
        with closing(run):
            if not passes.all_of(run):
                what = f"the run in {options.out} was not made by mlcycle redact"
                raise InputError(what, "redact the folder first, without --decisions")
            found = images_below(folder, [options.out], in_memory=options.private)
            images = images_of(partial(sources_of, found, options, keep_tree=True), options)
            new = second_pass.note(run, images, read, by)
            console.say(f"{counted(len(read.images), 'decision')}, {new:,} of them new")
            try:
                finish(run, images, review)
            except KeyboardInterrupt:
                console.say("the decisions are kept; the same command does the rest")
                raise
