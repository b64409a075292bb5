"""The guard of `--private`: refuses and counts network access, other programs and writing outside --out.

It is a Python audit hook: once added it cannot be removed, and it sees what any Python code in the process does,
including other packages. It does not see what native code does; docs/private.md explains the consequences.
"""

from __future__ import annotations

import errno
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlcycle.errors import UsageError

# Prefixes of events that are always refused.
REFUSED = (
    *("socket.", "urllib.", "http.", "ftplib.", "smtplib.", "imaplib.", "poplib.", "nntplib.", "telnetlib."),
    *("webbrowser.", "syslog.", "subprocess.", "pty.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn"),
    *("os.startfile", "ensurepip.", "sqlite3.enable_load_extension", "sqlite3.load_extension"),
)
# What a server does: an accepted connection is a new socket object.
ACCEPTED = ("socket.__new__",)
# Events that change files → the arguments that are paths, each with the argument of the open folder it is relative to.
PLACES: dict[str, tuple[tuple[int, int | None], ...]] = {
    **dict.fromkeys(("os.remove", "os.rmdir", "shutil.rmtree"), ((0, 1),)),
    **dict.fromkeys(("os.mkdir", "os.chmod"), ((0, 2),)),
    **dict.fromkeys(("os.chown", "os.utime"), ((0, 3),)),
    **dict.fromkeys(("os.rename", "os.link"), ((0, 2), (1, 3))),
    "os.symlink": ((1, 2),),
    **dict.fromkeys(("os.truncate", "os.chflags", "os.setxattr", "os.removexattr"), ((0, None),)),
    **dict.fromkeys(("tempfile.mkstemp", "tempfile.mkdtemp", "shutil.chown", "shutil.make_archive"), ((0, None),)),
    **dict.fromkeys(("shutil.copyfile", "shutil.copymode", "shutil.copystat", "shutil.copytree"), ((1, None),)),
    "shutil.move": ((0, None), (1, None)),
    "shutil.unpack_archive": ((1, None),),
    "sqlite3.connect": ((0, None),),
}
ENFORCED = (*(f"{each}*" if each.endswith(".") else each for each in REFUSED), "ctypes.dlopen", "open", *PLACES)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_GET_PATH = 50  # F_GETPATH of macOS, which Python does not name in 3.11

_guard: _Guard | None = None


class RefusedError(PermissionError):
    """Raised in code that tries what --private refuses."""


def enforce(places: Sequence[Path], temporary: Path | None, *, serves: bool = False) -> None:
    """Enforces the guard until the process ends.

    Args:
        places: absolute paths of files and folders that may be written, with everything below.
        temporary: the folder for temporary files, one of `places`; None to allow none.
        serves: whether connections may be accepted; the process still cannot make one.

    Raises:
        UsageError: the guard is already enforced.
    """
    global _guard  # noqa: PLW0603 (a process has one list of audit hooks, and so one guard)
    if _guard:
        raise UsageError("--private is already active in this process", "start another process")
    sys.dont_write_bytecode = True
    if temporary:
        import tempfile

        tempfile.tempdir = str(temporary)
        os.environ["TMPDIR"] = os.environ["SQLITE_TMPDIR"] = str(temporary)  # for native code
    os.environ["CUDA_CACHE_DISABLE"] = "1"  # CUDA would cache compiled kernels in the home folder
    _guard = _Guard([os.path.realpath(each) for each in places], frozenset(ACCEPTED if serves else ()))
    sys.addaudithook(_guard.see)


def refused() -> dict[str, int]:
    """Returns event → number of refusals so far, sorted by event."""
    return dict(sorted(Counter(_guard.refusals).items())) if _guard else {}


def report() -> dict[str, Any]:
    """Returns the enforced events and the refusals so far, for JSON."""
    return {"enforced": sorted(ENFORCED), "refused": refused()}


def stack() -> str:
    """Returns the stack trace of the first refusal; "" if there was none."""
    return _guard.stack if _guard else ""


class _Guard:
    def __init__(self, places: Sequence[str], allowed: frozenset[str] = frozenset()) -> None:
        self.allowed = allowed
        self.places = [each.rstrip("/") for each in places]
        self.refusals: list[str] = []  # appending is atomic between threads; counting is not
        self.stack = ""

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            # A number is an open file.
            if flags & _WRITES and not isinstance(path, int) and path != os.devnull and not self._is_within(path):
                self._refuse(event)
        elif event in PLACES:
            for place, folder in PLACES[event]:
                path = _joined(arguments[place], None if folder is None else arguments[folder])
                if not (self._is_within(path) or self._is_free(event, path)):
                    self._refuse(event)
        elif (event.startswith(REFUSED) and event not in self.allowed) or (
            event == "ctypes.dlopen" and arguments[0] is not None
        ):
            self._refuse(event)

    def _is_within(self, path: Any) -> bool:
        """Returns whether a path, and the target if it is a link, is in a place that may be written.

        A relative path never is, because it may be relative to another folder than the current one.
        """
        name = os.fsdecode(path) if path else ""
        if not name.startswith("/"):
            return False
        folder, last = os.path.split(name.rstrip("/"))
        itself, target = os.path.join(os.path.realpath(folder), last), os.path.realpath(name)  # noqa: PTH118
        return all(any(f"{each}/".startswith(f"{place}/") for place in self.places) for each in (itself, target))

    def _is_free(self, event: str, path: Any) -> bool:
        """Returns whether a path outside may be changed: parent folders of --out may be created."""
        if event == "os.mkdir" and path:
            above = os.path.realpath(os.fsdecode(path)).rstrip("/")
            return any(place.startswith(f"{above}/") for place in self.places)
        return event == "sqlite3.connect" and path == ":memory:"

    def _refuse(self, event: str) -> None:
        self.refusals.append(event)
        if not self.stack:
            import traceback

            self.stack = "".join(traceback.format_list(traceback.extract_stack()[:-2]))
        raise RefusedError(errno.EPERM, f"--private refuses it ({event})")


def _joined(path: Any, folder: int | None) -> Any:
    """Returns a path, or the path of an open file's number, joined to that of an open folder (-1 or None for none)."""
    if isinstance(path, int):
        return _path_of(path)
    if folder is None or folder == -1:
        return path
    above = _path_of(folder)
    return os.path.join(above, os.fsdecode(path)) if above else ""  # noqa: PTH118 (nothing of pathlib in a hook)


def _path_of(number: int) -> str:
    """Returns the path of an open file or folder; "" if the system does not report it."""
    try:
        if sys.platform == "darwin":
            import fcntl

            return os.fsdecode(fcntl.fcntl(number, _GET_PATH, bytes(1024)).rstrip(b"\0"))
        return os.readlink(f"/proc/self/fd/{number}")  # noqa: PTH115
    except OSError:
        return ""
