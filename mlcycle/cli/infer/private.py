"""`mlcycle infer … --private`: puts the guard up, takes paths out of all that is said, and tells what was refused."""

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
def guarded(wishes: InferOptions, given: Sequence[str | Path], *, is_run: bool) -> Iterator[InferOptions]:
    """Yields the wishes to follow; with --private the guard is up, and they say what images are called.

    `given` are the images or the folder; they are not named in what is said, and an error in the block loses what
    it says of other paths. `is_run` tells whether --out is a folder with a ledger.

    Raises:
        UsageError: copies are wanted outside of --out.
        PrivacyError: something was refused while the block ran; it comes in the place of the block's own error.
    """
    if not wishes.private:
        yield wishes
        return
    # images first: it silences libtiff by ctypes, which the guard does not let happen.
    from mlcycle.inference.decoding import images  # noqa: F401
    from mlcycle.inference.privacy import guard, hashed_names

    words = _words(wishes, given, "RUN" if is_run else "FILE")
    console.cover(partial(hashed_names.covered, words=words))
    wishes = _within_out(wishes, is_run)
    run = wishes.out if is_run else None
    guard.enforce([run] if run else _file(wishes.out), temporary=run)
    outcome: Exception | None = None
    try:
        yield replace(wishes, names=hashed_names.names_of(run))
    except typer.Exit as leave:
        outcome = leave
    except Exception as problem:
        outcome = _discreet(problem, words)
    if guard.refused():
        raise _refused() from None
    if outcome is None or isinstance(outcome, typer.Exit):
        console.say("private: nothing was refused")
    if outcome is not None:
        raise outcome from None


def say_names(run: Path, found: Iterable[Source]) -> None:
    """Says what each image is called in a private run.

    Raises:
        InputError: the run has no key, or it cannot be read.
    """
    import json

    from mlcycle.inference.privacy.hashed_names import NAME, names_of

    names = names_of(run)
    if not names.kept:
        raise InputError(f"there is no {NAME} in {run}", "name the folder that mlcycle infer dir --private --out left")
    for source in found:
        console.data(json.dumps({"input": names.name(source.key), "name": source.key}))


def absolute(name: str) -> str:
    """Returns the name of an image as seen from the root, so that it can be told from other words in what is said.

    URLs, patterns and - stay as they are; of @FILE it is the file.
    """
    if name == "-" or "://" in name or any(each in name for each in "*?["):
        return name
    listed = name.startswith("@")
    return "@" * listed + os.path.abspath(name[listed:])  # noqa: PTH100 (a Path would follow no rule for bytes)


def _within_out(wishes: InferOptions, is_run: bool) -> InferOptions:
    """Returns the wishes with the places to write as seen from the root."""
    out = wishes.out.resolve() if wishes.out else None
    for kind, folder in wishes.folders().items():
        if not (out and is_run and folder.resolve().is_relative_to(out)):
            raise UsageError(
                f"with --private, {kind} copies lie in the folder of the run",
                "mlcycle infer dir FOLDER --private --out RUN, with RUN/NAME for the copies",
            )
    redact = (wishes.redact[0], wishes.redact[1].resolve()) if wishes.redact else None
    annotate, crops = (folder.resolve() if folder else None for folder in (wishes.annotate, wishes.crops))
    return replace(wishes, out=out, annotate=annotate, redact=redact, crops=crops)


def _file(out: Path | None) -> list[Path]:
    """Returns what is written where --out is a file: it, and what it is called until it is whole."""
    return [out, out.with_name(f"{out.name}.part")] if out else []


def _words(wishes: InferOptions, given: Sequence[str | Path], out: str) -> dict[str, str]:
    """Returns what is said in the place of each path that is known."""
    known = {str(each).removeprefix("@"): "IMAGE" if isinstance(each, str) else "FOLDER" for each in given}
    models = [each for each in (wishes.model, os.environ.get("MLCYCLE_MODEL")) if each]
    read = [(each, "MODEL") for each in models] + [(f"{each}.sig", "SIGNATURE") for each in models]
    for path, word in (*read, (wishes.require_signature, "KEY"), (wishes.out, out)):
        if path:
            known |= {str(path): word, str(Path(path).resolve()): word}
    # Without a slash it could be any word: "in", "images".
    return {path: word for path, word in known.items() if "/" in path and path != "/"}


def _discreet(problem: Exception, words: dict[str, str]) -> Exception:
    """Returns the error without what it says of paths that are not known, and without the errors that it came from."""
    from mlcycle.inference.privacy.hashed_names import KEPT_BACK, covered, names_a_path

    if isinstance(problem, OSError) and problem.errno:
        discreet: Exception = OSError(problem.errno, problem.strerror)
    elif not isinstance(problem, MlcycleError):
        discreet = MlcycleError(f"something unexpected happened: {type(problem).__name__}", "run again with --debug")
    else:
        message, hint = covered(problem.message, words), covered(problem.hint, words)
        discreet = problem
        discreet.message = KEPT_BACK if names_a_path(message) else message
        discreet.hint = "" if names_a_path(hint) else hint
        discreet.args = (discreet.message,)
    return discreet.with_traceback(problem.__traceback__)


def _refused() -> PrivacyError:
    from mlcycle.inference.privacy import guard

    what = ", ".join(f"{event} ({count} times)" if count > 1 else event for event, count in guard.refused().items())
    error = PrivacyError(
        f"something reached beyond what --private lets happen, and was refused: {what}",
        "run again with --debug to see which code it was; do not trust that code before you know",
    )
    error.add_note(f"The first that was refused:\n{guard.stack()}")
    return error
