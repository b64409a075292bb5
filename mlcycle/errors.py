"""The errors that a user can cause or meet, as one tree. Each has an exit code, one sentence and one hint.

    MlcycleError               1  unexpected
    ├─ UsageError              2  the command line was not understood, or an extra is not installed
    │  ├─ RecipeError          2  a recipe or an override is wrong
    │  └─ MissingExtraError    2  a command needs packages that are not installed
    ├─ InputError              3  an image, a folder or an output path cannot be used
    │  ├─ DataError            3  a labelled dataset is missing or wrong
    │  └─ UnreadableError      3  an image cannot be read
    ├─ ModelFileError          4  a model file is missing, damaged, tampered with, not signed or of another format
    ├─ GateError               5  a check failed: the file it guards was not written, a benchmark was slower than
    │                             allowed, or a run produced other bytes or weights than expected
    ├─ DeviceError             6  the requested device, provider, cluster or server is not available
    ├─ PrivacyError            7  an action that --private forbids was attempted and refused
    ├─ TrainingDivergedError   1  the loss is no longer a finite number
    └─ Interrupted   129/130/143  SIGHUP, SIGINT or SIGTERM, after saving

Exit code 0 means success, also when no face was found. The errors are caught in one place: `mlcycle.cli.main`.
"""

from __future__ import annotations

from typing import Any

from mlcycle.distribution import install_command


class MlcycleError(Exception):
    """One sentence that names the problem, and one hint that names the remedy.

    Args:
        message: the sentence, without the word "error".
        hint: what the user can do about it; may be empty.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if hint:
            self.add_note(f"hint: {hint}")  # Python shows it below a traceback

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickles for another process without calling __init__, whose parameters differ between the classes.
        return _restored, (type(self), self.args, self.__dict__)


class UsageError(MlcycleError):
    """The command line, an argument or an option was not understood, or does not fit another one."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe or an override is wrong."""


class MissingExtraError(UsageError):
    """A command needs packages of an extra that is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs packages that are not installed", install_command(extra))


class InputError(MlcycleError):
    """An image, a folder or an output path cannot be used."""

    exit_code = 3


class DataError(InputError):
    """A labelled dataset is missing or wrong."""


class UnreadableError(InputError):
    """An image cannot be read.

    `code` is one of not-found, not-a-file, no-permission, empty, not-an-image, unsupported, truncated, damaged,
    too-large, unreadable. Programs can rely on the codes; the sentences are for people and may change.
    """

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.code = code


class ModelFileError(MlcycleError):
    """A model file is missing, damaged, tampered with, not signed or of another format."""

    exit_code = 4


class GateError(MlcycleError):
    """A check failed, and the file it guards was not written."""

    exit_code = 5


class DeviceError(MlcycleError):
    """The requested device, provider, cluster or server is not available."""

    exit_code = 6


class PrivacyError(MlcycleError):
    """An action that --private forbids was attempted and refused."""

    exit_code = 7


class TrainingDivergedError(MlcycleError):
    """The loss is no longer a finite number."""


class Interrupted(MlcycleError):  # noqa: N818  (an interruption is not an error)
    """A command was interrupted and has saved its progress; the exit code is 128 + `signal_number`."""

    def __init__(self, message: str, hint: str = "", signal_number: int = 2) -> None:
        super().__init__(message, hint)
        self.exit_code = 128 + signal_number


def _restored(kind: type[MlcycleError], arguments: tuple[Any, ...], state: dict[str, Any]) -> MlcycleError:
    problem = kind.__new__(kind, *arguments)
    problem.__dict__.update(state)
    return problem
