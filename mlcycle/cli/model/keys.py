"""`mlcycle model keys`: the keys that sign model files."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcycle.cli import console
from mlcycle.cli.group import Group
from mlcycle.errors import InputError, UsageError
from mlcycle.extras import extra

if TYPE_CHECKING:
    from mlcycle.artifact.signing.keys import PublicKey

# What cryptography takes, and so openssl.
_MOST_BYTES = 1000

app = typer.Typer(
    cls=Group,
    rich_markup_mode=None,
    help="""Make and show the keys that sign model files.

Example:  mlcycle model keys new release
""",
)


class Kind(StrEnum):
    p256 = "p256"
    ed25519 = "ed25519"


PassphraseFileOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help="The file whose first line is the passphrase of the private key; else it is asked for where there is one.",
    ),
]


@app.command()
def new(
    name: Annotated[Path, typer.Argument(metavar="NAME", help="What the files are called, without a suffix.")],
    kind: Annotated[
        Kind, typer.Option("--type", help="P-256, which other programs verify too, or Ed25519.")
    ] = Kind.p256,
    passphrase: Annotated[
        bool, typer.Option("--passphrase", help="Ask for a passphrase to lock the private key with.")
    ] = False,
    passphrase_file: PassphraseFileOption = None,
) -> None:
    """Make a pair of keys: NAME.key, which signs and which nobody else may read, and NAME.pub, which checks.

    Existing files are never overwritten. The fingerprint, sha256 of the public key as DER, goes to stdout.

    Example:  mlcycle model keys new release --passphrase
    """
    with extra("sign", "mlcycle model keys"):
        from mlcycle.artifact.signing import keys

        word = asked(passphrase_file, "the new key", twice=True)() if passphrase or passphrase_file else None
        key = keys.generate(kind.value)
        private, public = keys.write_pair(key, name, word)
    console.say(f"written: {private}, to be kept secret, and {public}, to be given away")
    console.data(f"{key.public.fingerprint}  {public}")


@app.command()
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A private or a public key.")],
    passphrase_file: PassphraseFileOption = None,
) -> None:
    """Show a key's type, its fingerprint, and the hint by which signatures name it.

    Example:  mlcycle model keys show release.pub
    """
    with extra("sign", "mlcycle model keys"):
        from mlcycle.artifact.signing import keys

        key, is_private = keys.read_either(file, asked(passphrase_file, str(file)))
    console.data(f"type         {key.kind}, {'private' if is_private else 'public'}")
    console.data(f"fingerprint  {key.fingerprint}")
    console.data(f"hint         {key.hint}")


def asked(file: Path | None, what: str, *, twice: bool = False) -> Callable[[], bytes]:
    """Returns what gets a passphrase: from a file, else from the terminal.

    Raises, when called:
        UsageError: there is no terminal to ask at, or the two that were typed differ.
        InputError: the file cannot be read, or the passphrase is empty or too long.
    """

    def ask() -> bytes:
        word = _first_line(file) if file else _typed(what, twice)
        if not 0 < len(word) <= _MOST_BYTES:
            raise InputError(f"a passphrase has 1 to {_MOST_BYTES} bytes", "choose another one")
        return word

    return ask


def public_key(path: Path, option: str) -> PublicKey:
    """Reads the public key that an option names.

    Raises:
        MissingExtraError: cryptography is not installed.
        UsageError, InputError: as read_public does.
    """
    with extra("sign", option):
        from mlcycle.artifact.signing.keys import read_public

        return read_public(path)


def _first_line(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.readline(_MOST_BYTES + 2).rstrip(b"\r\n")
    except OSError as problem:
        raise InputError(f"the passphrase file {file} cannot be read: {problem.strerror}") from None


def _typed(what: str, twice: bool) -> bytes:
    import sys
    from getpass import getpass

    if not sys.stdin.isatty():
        raise UsageError(f"{what} takes a passphrase, and there is no terminal to ask at", "name a --passphrase-file")
    word = getpass(f"passphrase of {what}: ", sys.stderr)
    if twice and getpass("once more: ", sys.stderr) != word:
        raise UsageError("the two passphrases differ", "type the same one twice")
    return word.encode()
