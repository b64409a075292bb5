"""Who may use a server, and what it may do: its hosts, its token and --private."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from mlcycle.cli import console
from mlcycle.errors import InputError, UsageError

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


def allowed_hosts(host: str, allowed: list[str] | None) -> tuple[str, ...]:
    """Returns the names to which requests may be addressed, in lower case; () for any.

    Raises:
        UsageError: one of them is not a name or an address.
    """
    if allowed:
        return tuple(_host_name(each.lower()) for each in allowed)
    if host in LOOPBACK_NAMES:
        return LOOPBACK_NAMES
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return ()
    return tuple(dict.fromkeys((*LOOPBACK_NAMES, _host_name(host)))) if is_loopback else ()


def _host_name(name: str) -> str:
    try:
        return f"[{ipaddress.IPv6Address(name.strip('[]'))}]"
    except ValueError:
        if not re.fullmatch(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?", name):
            hint = "pass it without scheme, port and path: --allow-host faces.example"
            raise UsageError(f"{name} is not the name of a host", hint) from None
        return name


def token_in(file: Path) -> str:
    """Returns the token in a file.

    Raises:
        InputError: it cannot be read.
        UsageError: it has no token.
    """
    try:
        token = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as problem:
        why = getattr(problem, "strerror", None) or "it is not text"
        raise InputError(f"the token file {file} cannot be read: {why}", "pass a file with one line") from None
    if len(token) < 16 or not token.isascii() or any(each.isspace() for each in token):
        hint = "write one with: openssl rand -hex 32 > token.txt"
        raise UsageError(f"{file} does not hold a token of at least 16 characters without spaces", hint)
    return token


def named(models: Iterable[str]) -> list[tuple[str, str]]:
    """Returns the name, or "", and the path of each [NAME=]MODEL; a path may have a "=" too."""
    found = [re.fullmatch(r"(?:([A-Za-z0-9._-]+)=)?(.+)", each, re.DOTALL) for each in models]
    return [(each[1] or "", each[2]) if each else ("", "") for each in found]


@contextmanager
def guarded(models: Iterable[Path], *, private: bool) -> Iterator[None]:
    """Enforces the guard for the block if it is to be private, and covers the paths of models in messages.

    Raises:
        PrivacyError: an action was refused in the block.
    """
    if not private:
        yield
        return
    from mlcycle.cli.infer.private import refused_error
    from mlcycle.inference.decoding import images  # noqa: F401 (silences libtiff by ctypes, which the guard refuses)
    from mlcycle.inference.privacy import guard, hashed_names

    words = {str(path): "MODEL" for model in models for path in (model, model.resolve()) if "/" in str(path)}
    console.cover(partial(hashed_names.replace_paths, words=words))
    guard.enforce([], None, serves=True)
    yield
    if guard.refused():
        raise refused_error()
    console.say("private: nothing was refused")
