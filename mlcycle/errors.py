"""The errors that a user can cause or meet: one tree, each with an exit code, one sentence and one hint.

    MlcycleError               1  unexpected
    ├─ UsageError              2  the command line was not understood, or an extra is not installed
    │  ├─ RecipeError          2  a recipe or an override is wrong
    │  └─ MissingExtraError    2  a command needs packages that are not installed
    ├─ InputError              3  an image, a folder or an output path cannot be used
    │  ├─ DataError            3  a labelled data set is missing or wrong
    │  └─ UnreadableError      3  an image cannot be read
    ├─ ModelFileError          4  a model file is missing, damaged, tampered with, not signed or of another format
    ├─ GateError               5  a check failed: what it guards was not written, a bench was slower than allowed, or
    │                             a run gave another file, or other weights, than it was held against
    ├─ DeviceError             6  the requested device, provider or cluster is not there
    ├─ PrivacyError            7  something that --private does not let happen was tried, and refused
    ├─ TrainingDivergedError   1  the loss is no longer a finite number
    └─ Interrupted   129/130/143  SIGHUP, SIGINT or SIGTERM, after saving

Exit code 0 means that all went well, also when no face was found. They are caught in one place: `mlcycle.cli.main`.
"""

from __future__ import annotations

from typing import Any


class MlcycleError(Exception):
    """One sentence that says what is wrong, and one hint that says what to do.

    Args:
        message: the sentence, without the word "error".
        hint: what the user can do about it; empty when there is nothing to say.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if hint:
            self.add_note(f"hint: {hint}")  # Python shows it below a traceback

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.args, self.__dict__)  # to another process, whatever __init__ takes


class UsageError(MlcycleError):
    """The command line, an argument or an option was not understood, or does not fit another one."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe or an override is wrong."""


class MissingExtraError(UsageError):
    """Raised when a command needs packages of an extra that is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs packages that are not installed", f"pip install 'mlcycle[{extra}]'")


class InputError(MlcycleError):
    """An image, a folder or an output path cannot be used."""

    exit_code = 3


class DataError(InputError):
    """A labelled data set is missing or wrong."""


class UnreadableError(InputError):
    """An image that cannot be read.

    `code` is one of not-found, not-a-file, no-permission, empty, not-an-image, unsupported, truncated, damaged,
    too-large, unreadable; the codes are stable, the sentences are for people.
    """

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.code = code


class ModelFileError(MlcycleError):
    """A model file is missing, damaged, tampered with, not signed or of another format."""

    exit_code = 4


class GateError(MlcycleError):
    """A check failed, and what it guards was not written."""

    exit_code = 5


class DeviceError(MlcycleError):
    """The requested device, provider or cluster is not available."""

    exit_code = 6


class PrivacyError(MlcycleError):
    """Something that --private does not allow was tried, and refused."""

    exit_code = 7


class TrainingDivergedError(MlcycleError):
    """The loss is no longer a finite number."""


class Interrupted(MlcycleError):  # noqa: N818  (nothing went wrong)
    """Raised after an interrupted command has saved what it had; the exit code is 128 + `signal_number`."""

    def __init__(self, message: str, hint: str = "", signal_number: int = 2) -> None:
        super().__init__(message, hint)
        self.exit_code = 128 + signal_number


def _restored(kind: type[MlcycleError], arguments: tuple[Any, ...], state: dict[str, Any]) -> MlcycleError:
    problem = kind.__new__(kind, *arguments)
    problem.__dict__.update(state)
    return problem
