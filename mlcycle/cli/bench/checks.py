"""What is refused before anything is measured."""

from __future__ import annotations

import math
from pathlib import Path

from mlcycle.errors import InputError, UsageError


def finite(**options: float | None) -> None:
    """Raises UsageError if a number is infinite or none."""
    for name, value in options.items():
        if value is not None and not math.isfinite(value):
            raise UsageError(f"--{name} {value} is not a finite number", "pass a number such as 10")


def output(out: Path | None, overwrite: bool, baseline: Path | None, max_regress: str | None) -> None:
    """Raises an error if the result could not be written or compared."""
    if max_regress is not None and baseline is None:
        raise UsageError("--max-regress needs a baseline", "pass an earlier result: --baseline FILE")
    if out is None:
        return
    if baseline is not None and out.resolve() == baseline.resolve():
        raise UsageError("--out would replace the baseline", "choose another file")
    if out.is_dir() or (out.exists() and not overwrite):
        raise InputError(f"{out} already exists", "choose another file, or pass --overwrite")


def search(find_rate: bool, baseline: Path | None) -> None:
    """Raises UsageError for a search that is compared: its rate differs from run to run."""
    if find_rate and baseline is not None:
        raise UsageError("--find-rate has nothing to compare with a baseline", "compare at one rate: --rate R")


def server(
    url: str | None,
    token_file: Path | None,
    file: Path | None,
    provider: str,
    threads: int | None,
    cold_starts: int | None,
) -> None:
    """Raises UsageError for options of a model file beside a server, and the other way round."""
    if url is None:
        if token_file is not None:
            raise UsageError("--token-file needs a server", "pass its URL: --url http://127.0.0.1:8000")
        return
    chosen = {
        "FILE": file is not None,
        "--provider": provider != "auto",
        "--threads": threads is not None,
        "--cold-starts": bool(cold_starts),
    }
    for name, given in chosen.items():
        if given:
            raise UsageError(f"{name} says how a model is loaded, and the server has loaded one", f"leave out {name}")
