"""`mlcycle redact FOLDER`: a run with a ledger, the copies, a page to review them, and a report."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mlcycle.cli.infer.options import InferOptions
from mlcycle.cli.infer.private import guarded
from mlcycle.cli.infer.run import run
from mlcycle.cli.infer.sources import images_below, sources_of
from mlcycle.cli.model.keys import public_key
from mlcycle.cli.redact.review import Review, finish, images_of
from mlcycle.errors import UsageError
from mlcycle.redacting import passes

if TYPE_CHECKING:
    from mlcycle.inference.batch_run import BatchRun
    from mlcycle.inference.detect import Detector
    from mlcycle.redacting.run_images import Images


def run_folder(folder: Path, out: Path | None) -> Path:
    """Returns the run folder of a folder of images: `out`, or FOLDER_redacted beside it.

    Raises:
        UsageError: `out` is named like a file of results.
    """
    if out is not None:
        if not InferOptions(out=out).is_run():
            raise UsageError(f"--out {out} is named like a file", "pass a folder: --out RUN")
        return out
    named = folder if folder.name not in ("", "..") else Path(os.path.realpath(folder))
    return named.with_name(f"{named.name}_redacted")


def redact_folder(folder: Path, given: InferOptions, review: Review) -> None:
    """Redacts the images that the run in --out lacks, and writes page and report; exits with 3 if one has no copy."""
    folder = folder.absolute() if given.private else folder
    with guarded(given, [folder], is_run=True) as options:
        without = [*options.folders().values(), *([options.out] if options.out else [])]
        found = images_below(folder, without, in_memory=options.private, videos=options.videos)
        sources = partial(sources_of, found, options, keep_tree=True)
        around = partial(_completed, options, images_of(sources, options), review)
        run(folder, sources, len(found), options, around)


@contextmanager
def _completed(
    options: InferOptions, images: Images, review: Review, current: BatchRun, detector: Detector
) -> Iterator[None]:
    """Notes the pass in the ledger, and writes the page and the report after it."""
    key = public_key(options.require_signature, "--require-signature") if options.require_signature else None
    facts = passes.facts_of(detector, current.settings["threshold"], key.fingerprint if key else None)
    with passes.noted(current, facts):
        yield
    finish(current, images, review)
