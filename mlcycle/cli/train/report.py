"""`mlcycle train report`, `compare` and `log-mlflow`: what a run, or several, came to."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from mlcycle.cli import console
from mlcycle.cli.evaluate import check_free
from mlcycle.errors import UsageError
from mlcycle.extras import extra
from mlcycle.inference.outputs.output import open_output

Run = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.", show_default=False)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]


def report(
    run: Run,
    images: Annotated[
        bool, typer.Option("--images/--no-images", help="Whether cut-outs of held-out images go into it.")
    ] = True,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FILE", help="Another file than RUN/report.html.", show_default=False),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Make a run's report anew: curves, scores by size and group, the worst mistakes as images, speed, environment.

    The run may still be training, or have been broken off. The held-out images are looked at once more, by the
    best checkpoint; where they are not there any more, the report holds the curves alone and says why.

    Example:  mlcycle train report runs/face-nano --no-images
    """
    check_free(out, overwrite)
    with extra("train", "mlcycle train report"):
        from mlcycle.training.reports.report import ReportOptions, write_report

    with ExitStack() as bar:

        def started(images: int) -> Callable[[int], None]:
            console.say(f"looking at {images:,} held-out images")
            return bar.enter_context(console.progress("looking", images))

        written = write_report(run, ReportOptions(images, started), out)
    if written.missing_reason:
        console.warn(f"the report has only curves: {written.missing_reason}")
    console.data(str(written.path))


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs.", show_default=False)],
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Also write a page, with the curves over each other.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs, with the full figures.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Show runs side by side: best scores, time and speed, and the keys of their recipes that differ.

    They may still be training. Whether they are of the same data is told by its fingerprint; scores on others are not
    comparable.

    Example:  mlcycle train compare runs/a runs/b --html compare.html
    """
    if len(runs) < 2:
        raise UsageError("one run cannot be compared", "name two or more: mlcycle train compare RUN RUN")
    check_free(html, overwrite)
    with extra("train", "mlcycle train compare"):
        from mlcycle.training.reports import comparison, comparison_page
        from mlcycle.training.run import run_summary

    compared = comparison.compare([run_summary.read(run) for run in runs])
    if as_json:
        console.data(comparison.as_json(compared))
    else:
        console.data(comparison.as_table(compared, shutil.get_terminal_size().columns))
    if not compared.is_same_data:
        console.warn(comparison.data_note(compared))
    if html is not None:
        with open_output(html, overwrite=overwrite) as file:
            file.write(comparison_page.render(compared))
        console.say(f"the page is {html}")


def log_mlflow(
    run: Run,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="URI",
            help="MLflow's tracking URI: http://HOST:5000, sqlite:///mlflow.db. Default: MLflow's own.",
            show_default=False,
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Log a run to MLflow: its recipe as parameters, its reports as metrics; print MLflow's id of it.

    Data goes where --to or MLFLOW_TRACKING_URI says; MLflow's telemetry is switched off. A run that is there already
    is logged anew with --overwrite only. sqlite:/// needs all of MLflow: pip install mlflow.

    Example:  mlcycle train log-mlflow runs/face-nano --to http://localhost:5000
    """
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # read when MLflow is imported
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # MLflow's 7 take minutes to say that nobody answers
    with extra("train", "mlcycle train log-mlflow"):
        from mlcycle.training.run import run_summary
    with extra("mlflow", "mlcycle train log-mlflow"):
        from mlcycle.training import mlflow_log

    console.data(mlflow_log.log(run_summary.read(run), to, overwrite=overwrite))
