"""`mlcycle infer … --private`: enforces the guard, removes paths from messages, and reports refused actions."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mlcycle.cli import console
from mlcycle.cli.infer.options import InferOptions
from mlcycle.errors import InputError, MlcycleError, PrivacyError, UsageError

if TYPE_CHECKING:
    from mlcycle.inference.record import Source


@contextmanager
def guarded(options: InferOptions, inputs: Sequence[str | Path], *, is_run: bool) -> Iterator[InferOptions]:
    """Yields the options for the block; with --private they have hashed names, and the guard is in force.

    Args:
        inputs: the images or the folder; messages do not name them, and errors in the block lose other paths.
        is_run: whether --out is a run folder.

    Raises:
        UsageError: copies are requested outside --out.
        PrivacyError: an action was refused in the block; it replaces the block's own error.
    """
    if not options.private:
        yield options
        return
    # images first: it silences libtiff by ctypes, which the guard does not let happen.
    from mlcycle.inference.decoding import images  # noqa: F401
    from mlcycle.inference.privacy import guard, hashed_names

    words = _placeholders(options, inputs, "RUN" if is_run else "FILE")
    console.cover(partial(hashed_names.replace_paths, words=words))
    options = _within_out(options, is_run)
    run = options.out if is_run else None
    guard.enforce([run] if run else _file(options.out), temporary=run)
    outcome: Exception | None = None
    try:
        yield replace(options, names=hashed_names.load_names(run))
    except typer.Exit as leave:
        outcome = leave
    except Exception as problem:
        outcome = _without_paths(problem, words)
    if guard.refused():
        raise refused_error() from None
    if outcome is None or isinstance(outcome, typer.Exit):
        console.say("private: nothing was refused")
    if outcome is not None:
        raise outcome from None


def print_names(run: Path, sources: Iterable[Source]) -> None:
    """Prints a line of JSON for each image: its hashed name in a private run, and its own name.

    Raises:
        InputError: the run has no key, or it cannot be read.
    """
    import json

    from mlcycle.inference.privacy.hashed_names import NAME, load_names

    names = load_names(run)
    if not names.is_saved:
        raise InputError(f"no {NAME} in {run}", "pass a folder written by mlcycle infer dir --private --out RUN")
    for source in sources:
        console.data(json.dumps({"input": names.name(source.key), "name": source.key}))


def absolute(name: str) -> str:
    """Returns the absolute path of an image, which can be replaced in messages without touching other words.

    URLs, patterns and - are unchanged; of @FILE the path of the file becomes absolute.
    """
    if name == "-" or "://" in name or any(each in name for each in "*?["):
        return name
    listed = name.startswith("@")
    return "@" * listed + os.path.abspath(name[listed:])  # noqa: PTH100 (a Path would follow no rule for bytes)


def _within_out(options: InferOptions, is_run: bool) -> InferOptions:
    """Returns the options with absolute output paths, after checking that they are in the run folder."""
    out = options.out.resolve() if options.out else None
    for kind, folder in options.folders().items():
        if not (out and is_run and folder.resolve().is_relative_to(out)):
            raise UsageError(
                f"with --private, {kind} copies must be in the run folder",
                "mlcycle infer dir FOLDER --private --out RUN, with RUN/NAME for the copies",
            )
    redact = (options.redact[0], options.redact[1].resolve()) if options.redact else None
    annotate, crops = (folder.resolve() if folder else None for folder in (options.annotate, options.crops))
    return replace(options, out=out, annotate=annotate, redact=redact, crops=crops)


def _file(out: Path | None) -> list[Path]:
    """Returns the files that are written if --out is a file: it and its temporary name."""
    return [out, out.with_name(f"{out.name}.part")] if out else []


def _placeholders(options: InferOptions, inputs: Sequence[str | Path], out: str) -> dict[str, str]:
    """Returns path → the word that replaces it in messages."""
    words = {str(each).removeprefix("@"): "IMAGE" if isinstance(each, str) else "FOLDER" for each in inputs}
    models = [each for each in (options.model, os.environ.get("MLCYCLE_MODEL")) if each]
    read = [(each, "MODEL") for each in models] + [(f"{each}.sig", "SIGNATURE") for each in models]
    for path, word in (*read, (options.require_signature, "KEY"), (options.out, out)):
        if path:
            words |= {str(path): word, str(Path(path).resolve()): word}
    # A path without a slash could be any word: "in", "images".
    return {path: word for path, word in words.items() if "/" in path and path != "/"}


def _without_paths(problem: Exception, words: dict[str, str]) -> Exception:
    """Returns the error without unknown paths and without its causes."""
    from mlcycle.inference.privacy.hashed_names import WITHHELD, names_a_path, replace_paths

    if isinstance(problem, OSError) and problem.errno:
        private: Exception = OSError(problem.errno, problem.strerror)
    elif not isinstance(problem, MlcycleError):
        private = MlcycleError(f"something unexpected happened: {type(problem).__name__}", "run again with --debug")
    else:
        message, hint = replace_paths(problem.message, words), replace_paths(problem.hint, words)
        private = problem
        private.message = WITHHELD if names_a_path(message) else message
        private.hint = "" if names_a_path(hint) else hint
        private.args = (private.message,)
        private.__notes__ = [f"hint: {private.hint}"] if private.hint else []  # --debug shows them
    return private.with_traceback(problem.__traceback__)


def refused_error() -> PrivacyError:
    """Returns the error that says what the guard has refused."""
    from mlcycle.inference.privacy import guard

    what = ", ".join(f"{event} ({count} times)" if count > 1 else event for event, count in guard.refused().items())
    error = PrivacyError(
        f"--private refused actions: {what}",
        "run again with --debug to see which code tried them; do not trust that code until you know",
    )
    error.add_note(f"The first refused action:\n{guard.stack()}")
    return error
