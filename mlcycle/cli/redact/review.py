"""The end of both passes over a folder: earlier decisions are kept, and the page and the report are written."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlcycle.cli import console
from mlcycle.cli.infer.options import InferOptions
from mlcycle.counted import counted
from mlcycle.redacting import report, review, second_pass
from mlcycle.redacting.run_images import Images

if TYPE_CHECKING:
    from mlcycle.inference.batch_run import BatchRun
    from mlcycle.inference.record import Source


@dataclass(frozen=True, slots=True)
class Review:
    """How the page is written.

    Attributes:
        folder, out: of the images and of the run, for the command that the page shows.
        limit: number of images; 0 writes no page.
    """

    folder: Path
    out: Path
    limit: int
    private: bool

    @property
    def command(self) -> str:
        """The command of the second pass, for wherever the decisions are; of a private run without names."""
        folder, out = ("FOLDER", "RUN") if self.private else (str(each.resolve()) for each in (self.folder, self.out))
        private = ["--private"] if self.private else []
        return shlex.join(["mlcycle", "redact", folder, "--out", out, *private, "--decisions", "decisions.json"])


def images_of(sources: Callable[[], Iterator[Source]], options: InferOptions) -> Images:
    """Returns the images of a run for its review."""
    return Images(sources, options.names.conceal if options.names else str, options.private)


def finish(run: BatchRun, images: Images, plan: Review) -> None:
    """Writes the copies that decisions need, the page and the report, and says where they are.

    Raises:
        InputError: one of them cannot be written, or an image with a decision cannot be read any more.
    """
    if dropped := second_pass.drop_outdated(run, images):
        console.say(
            f"{counted(dropped, 'decision')} dropped: the images have changed or have no copy; review them again"
        )
    if again := second_pass.redact_again(run, images):
        console.say(f"{counted(again, 'image')} redacted again, as decided")
    if plan.limit:
        with console.progress("drawing the review", None) as advance:
            written = review.write(run, images, plan.command, plan.limit, advance)
        _say_review(review.path(run), written)
    report.write(run)
    console.say(f"report: {run.folder / report.PAGE_NAME}")


def _say_review(page: Path, written: review.Written) -> None:
    shown, counts = written.shown, written.counts
    what = [
        f"{counted(shown[kind], 'image')} {words}"
        for kind, words in (
            (review.DOUBTFUL, "with doubtful regions"),
            (review.EMPTY, "without any face"),
            (review.SAMPLE, "as a sample"),
            (review.DECIDED, "decided before"),
        )
        if shown[kind]
    ]
    left = sum(counts[kind] - shown[kind] for kind in (review.DOUBTFUL, review.EMPTY))
    more = f"; {counted(left, 'more image')} to review will be listed after a second pass" if left else ""
    if written.unreadable:
        console.warn(f"{counted(written.unreadable, 'image')} to review cannot be shown: gone, or changed meanwhile")
    console.say(f"review: {page}, as confidential as the images: {', '.join(what) or 'no image'}{more}")
