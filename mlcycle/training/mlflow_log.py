"""Logs a run to MLflow with MLflow's own client: the recipe as parameters, metrics.jsonl as metrics."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mlcycle.errors import InputError
from mlcycle.training.run.run_folder import RECIPE
from mlcycle.training.run.run_summary import RunSummary

EXPERIMENT = "mlcycle"
# The tag that identifies a run.
DIGEST_TAG = "mlcycle.run"
# The most that a tracking server accepts in one batch.
MOST_METRICS, MOST_PARAMETERS = 1000, 100


def log(summary: RunSummary, uri: str | None, *, overwrite: bool) -> str:
    """Logs a run to a tracking server or database; returns its MLflow run id.

    Args:
        uri: MLflow's tracking URI; None means MLflow's own default.
        overwrite: replace a run that is logged already.

    Raises:
        InputError: the run is logged already and `overwrite` is off, or MLflow cannot write there.
    """
    with _mlflow_errors(uri):
        client = MlflowClient(tracking_uri=uri)
        experiment, digest = _experiment(client), _digest(summary)
        earlier = client.search_runs([experiment], f"tags.`{DIGEST_TAG}` = '{digest}'")
        if earlier and not overwrite:
            raise InputError(f"MLflow has {summary.path} already, as {earlier[0].info.run_id}", "pass --overwrite")
        run = client.create_run(experiment, _began(summary), _tags(summary, digest), summary.name).info.run_id
        try:
            _fill(client, run, summary)
        except BaseException:
            client.delete_run(run)
            raise
        for each in earlier:
            client.delete_run(each.info.run_id)
        return run


@contextmanager
def _mlflow_errors(uri: str | None) -> Iterator[None]:
    """Turns MLflow's exceptions into an InputError."""
    try:
        yield
    except MlflowException as problem:
        reason = " ".join(str(problem).split())[:300]
        where = uri or "its default tracking URI"
        hint = "pass another tracking URI with --to; sqlite:/// needs all of MLflow: pip install mlflow"
        raise InputError(f"MLflow cannot log to {where}: {reason}", hint) from None


def _fill(client: MlflowClient, run: str, summary: RunSummary) -> None:
    parameters = [Param(key, "" if value is None else str(value)) for key, value in summary.flat_recipe().items()]
    for start in range(0, len(parameters), MOST_PARAMETERS):
        client.log_batch(run, params=parameters[start : start + MOST_PARAMETERS])
    metrics = list(_metrics(summary))
    for start in range(0, len(metrics), MOST_METRICS):
        client.log_batch(run, metrics=metrics[start : start + MOST_METRICS])
    if summary.is_finished:
        client.set_terminated(run, "FINISHED", _began(summary) + round(summary.seconds * 1000))


def _experiment(client: MlflowClient) -> str:
    found = client.get_experiment_by_name(EXPERIMENT)
    return found.experiment_id if found else client.create_experiment(EXPERIMENT)


def _tags(summary: RunSummary, digest: str) -> dict[str, str]:
    tags = {DIGEST_TAG: digest, "mlcycle.device": summary.environment.get("device")}
    tags |= {"mlflow.source.git.commit": summary.environment.get("git_commit")}
    tags |= {f"mlcycle.data.{key}": value for key, value in summary.data.items()}
    return {key: str(value) for key, value in tags.items() if value is not None}


def _metrics(summary: RunSummary) -> Iterator[Metric]:
    """Yields the numbers of metrics.jsonl with timestamps. An evaluation has none and gets that of the last report."""
    now = 0.0
    for entry in summary.metrics:
        now = max(now, entry.get("seconds", 0.0))
        for key, value in entry.items():
            if key != "step" and isinstance(value, int | float):
                yield Metric(key, value, _began(summary) + round(now * 1000), entry["step"])


def _began(summary: RunSummary) -> int:
    """Returns when the run started, in milliseconds since the epoch: the time at which its recipe was written."""
    return round((summary.path / RECIPE).stat().st_mtime * 1000)


def _digest(summary: RunSummary) -> str:
    """Returns a digest of what stays the same when a run is resumed: recipe, first environment and first report."""
    first = {key: value for key, value in summary.environment.items() if key != "resumed"}
    texts = summary.recipe_text, json.dumps(first), json.dumps(summary.metrics[:1])
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogateescape")).hexdigest()
