"""`mlcycle.freeze`: a training run → one immutable model file, published only if both pipelines agree."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mlcycle.artifact import bundled
from mlcycle.counted import counted
from mlcycle.extras import extra
from mlcycle.inference.sources import named_files
from mlcycle.progress import Progress, Silent
from mlcycle.results import Frozen

if TYPE_CHECKING:
    from mlcycle.training.freeze import Advance, Started
    from mlcycle.workflows.parity import Difference


def freeze(
    run: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    images: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = (),
    count: int = 32,
    precise_false_alarms: float = 0.05,
    sensitive_false_alarms: float = 1.0,
    progress: Progress | None = None,
) -> Frozen:
    """Freezes a training run into one model file, as `mlcycle freeze` does; the same run gives the same bytes.

    The name of a bundled model freezes its weights in float32, with the thresholds of the bundled file, to export other
    variants from: the bundled file is int8.

    Before it is published the file's output on real images, from a process without torch, must be that of training.

    Args:
        run: the run folder, or what `train` returned; or the name of a bundled model.
        out: the file to write; None takes models/NAME-DIGEST.onnx.
        images: image files, or folders of them, to compare both pipelines on; none takes some of the validation set.
            For a bundled model, to compare it with the new file on; none compares on the self-test only.
        count: how many images to compare on.
        precise_false_alarms: false alarms per image that the threshold "precise" may cost.
        sensitive_false_alarms: false alarms per image that the threshold "sensitive" may cost.
        progress: where to report; None is silent.

    Raises:
        MissingExtraError: the extra `train` is not installed.
        InputError, DataError: the run cannot be used, no threshold can be chosen, or the file exists.
        GateError: the pipelines differ; then nothing was written.
    """
    shown = progress or Silent()
    with extra("train", "mlcycle.freeze"):
        from mlcycle.training.export.operating_points import Rates
        from mlcycle.training.freeze import freeze as freeze_run
        from mlcycle.training.run import run_summary
    from mlcycle.library import gate
    from mlcycle.library.inputs import paths_of

    if os.fspath(run) in bundled.names():
        return _parent(os.fspath(run), out, named_files(paths_of(images))[:count])
    rates = Rates(precise_false_alarms, sensitive_false_alarms)
    files = gate.images_for(Path(run), paths_of(images), count)

    def compare(still: Path, candidate: Path) -> Difference:
        if not run_summary.read(Path(run)).is_finished:
            shown.say(f"{os.fspath(run)} is not finished: this freezes its best weights so far")
        shown.say(f"comparing both pipelines on {counted(len(files), 'image')} …")
        for file in files:
            shown.detail(f"  {file}")
        return gate.compare_pipelines(still, candidate, files)

    with choosing(shown) as started:
        return freeze_run(Path(run), None if out is None else Path(out), compare, started, rates)


def _parent(name: str, out: str | os.PathLike[str] | None, files: list[Path]) -> Frozen:
    from mlcycle.exporting.gates.agreement import agree
    from mlcycle.inference.detect import load_detector
    from mlcycle.training.parent import freeze_parent

    def compare(source: Path, candidate: Path) -> str:
        distance = load_detector(candidate, provider="cpu").session.distance()  # loading fails outside the tolerance
        return str(agree(source, candidate, files)) if files else f"self-test: differs by {distance}"

    return freeze_parent(name, None if out is None else Path(out), compare)


@contextmanager
def choosing(progress: Progress) -> Iterator[Started]:
    """Yields a callback that takes the number of images operating points are chosen on, and shows a bar."""
    with ExitStack() as bar:

        def started(images: int) -> Advance:
            progress.say(f"choosing thresholds on {images:,} validation images …")
            advance, left = bar.enter_context(progress.bar("choosing", images)), images

            def step(count: int) -> None:
                nonlocal left
                advance(count)
                left -= count
                if not left:  # the later steps are not part of the bar
                    bar.close()

            return step

        yield started
