"""`mlcycle train report`, `compare` and `log-mlflow`: the results of runs."""

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
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing output.")]


def report(
    run: Run,
    images: Annotated[bool, typer.Option("--images/--no-images", help="Include crops of validation images.")] = True,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", metavar="FILE", help="Write to FILE. Default: RUN/report.html.", show_default=False
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a run's HTML report again.

    The report has curves, scores by size and group, the worst mistakes as images, speed, and environment. The run may
    still be training, or have been interrupted. The best checkpoint predicts on the validation images again; if they
    are missing, the report has only curves and gives the reason.

    Example:  mlcycle train report runs/face-nano --no-images
    """
    check_free(out, overwrite)
    with extra("train", "mlcycle train report"):
        from mlcycle.training.reports.report import ReportOptions, write_report

    with ExitStack() as bar:

        def started(images: int) -> Callable[[int], None]:
            console.say(f"predicting on {images:,} validation images")
            return bar.enter_context(console.progress("predicting", images))

        written = write_report(run, ReportOptions(images, started), out)
    if written.missing_reason:
        console.warn(f"the report has only curves: {written.missing_reason}")
    console.data(str(written.path))


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs.", show_default=False)],
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Also write an HTML page with all curves to FILE.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON with unrounded numbers.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Compare runs: best scores, time, speed, and recipes.

    Lists the keys in which the recipes differ. Runs may still be training. Warns if their data differs, by its
    fingerprint, because scores on different data are not comparable.

    Example:  mlcycle train compare runs/a runs/b --html compare.html
    """
    if len(runs) < 2:
        raise UsageError("one run cannot be compared", "pass two or more: mlcycle train compare RUN RUN")
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
        console.say(f"page: {html}")


def log_mlflow(
    run: Run,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="URI",
            help="MLflow's tracking URI, e.g. http://HOST:5000 or sqlite:///mlflow.db. Default: MLflow's own.",
            show_default=False,
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Log a run to MLflow, and print its MLflow run id.

    The recipe is logged as parameters, and the reports as metrics, to the tracking URI of --to or MLFLOW_TRACKING_URI.
    MLflow's telemetry is switched off. A run that is logged already is replaced only with --overwrite. sqlite:/// needs
    all of MLflow: pip install mlflow.

    Example:  mlcycle train log-mlflow runs/face-nano --to http://localhost:5000
    """
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # read when MLflow is imported
    os.environ.setdefault(
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2"
    )  # with MLflow's 7, an unreachable server takes minutes
    with extra("train", "mlcycle train log-mlflow"):
        from mlcycle.training.run import run_summary
    with extra("mlflow", "mlcycle train log-mlflow"):
        from mlcycle.training import mlflow_log

    console.data(mlflow_log.log(run_summary.read(run), to, overwrite=overwrite))
