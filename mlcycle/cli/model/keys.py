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

# The longest passphrase that cryptography and openssl accept.
_MOST_BYTES = 1000

app = typer.Typer(
    cls=Group,
    rich_markup_mode=None,
    help="""Create and show the keys that sign model files.

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
        help="File whose first line is the passphrase of the private key. Default: prompt in the terminal.",
    ),
]


@app.command()
def new(
    name: Annotated[Path, typer.Argument(metavar="NAME", help="Name of the two files, without a suffix.")],
    kind: Annotated[
        Kind, typer.Option("--type", help="p256, which other programs can verify too, or ed25519.")
    ] = Kind.p256,
    passphrase: Annotated[
        bool, typer.Option("--passphrase", help="Encrypt the private key with a passphrase.")
    ] = False,
    passphrase_file: PassphraseFileOption = None,
) -> None:
    """Create a key pair: NAME.key, which signs, and NAME.pub, which verifies.

    Only the owner can read NAME.key. Existing files are never overwritten. The fingerprint goes to stdout: the sha256
    of the public key in DER form.

    Example:  mlcycle model keys new release --passphrase
    """
    with extra("sign", "mlcycle model keys"):
        from mlcycle.artifact.signing import keys

        secret = (
            passphrase_reader(passphrase_file, "the new key", twice=True) if passphrase or passphrase_file else None
        )
        key = keys.generate(kind.value)
        private, public = keys.write_pair(key, name, secret() if secret else None)
    console.say(f"written: {private}, to keep secret, and {public}, to publish")
    console.data(f"{key.public.fingerprint}  {public}")


@app.command()
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A private or public key file.")],
    passphrase_file: PassphraseFileOption = None,
) -> None:
    """Show the type and fingerprint of a key, and its hint in signatures.

    Example:  mlcycle model keys show release.pub
    """
    with extra("sign", "mlcycle model keys"):
        from mlcycle.artifact.signing import keys

        key, is_private = keys.read_either(file, passphrase_reader(passphrase_file, str(file)))
    console.data(f"type         {key.kind}, {'private' if is_private else 'public'}")
    console.data(f"fingerprint  {key.fingerprint}")
    console.data(f"hint         {key.hint}")


def passphrase_reader(file: Path | None, what: str, *, twice: bool = False) -> Callable[[], bytes]:
    """Returns a function that reads a passphrase from a file, or else from the terminal.

    Raises, when called:
        UsageError: there is no terminal, or the two typed passphrases differ.
        InputError: the file cannot be read, or the passphrase is empty or too long.
    """

    def read() -> bytes:
        secret = _first_line(file) if file else _typed(what, twice)
        if not 0 < len(secret) <= _MOST_BYTES:
            raise InputError(f"a passphrase has 1 to {_MOST_BYTES} bytes", "choose another one")
        return secret

    return read


def public_key(path: Path, option: str) -> PublicKey:
    """Reads the public key given by an option.

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
        raise UsageError(f"{what} needs a passphrase, and there is no terminal", "pass --passphrase-file FILE")
    secret = getpass(f"passphrase of {what}: ", sys.stderr)
    if twice and getpass("once more: ", sys.stderr) != secret:
        raise UsageError("the two passphrases differ", "type the same one twice")
    return secret.encode()
