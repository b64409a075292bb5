"""`mlcycle model verify`: whether a model file, or an exported folder, is what it was and what is meant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcycle.cli import console
from mlcycle.errors import ModelFileError, UsageError
from mlcycle.extras import extra

if TYPE_CHECKING:
    from mlcycle.artifact.seal import SealedBytes
    from mlcycle.artifact.signing.keys import PublicKey
    from mlcycle.artifact.signing.statement import Manifest


def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The model file, or an exported folder.")],
    sha256: Annotated[
        str | None, typer.Option("--sha256", metavar="HEX", help="The digest that the whole file must have.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--key", metavar="PUB", help="The public key that must have signed it.")
    ] = None,
    signature: Annotated[
        Path | None,
        typer.Option("--signature", metavar="SIG", help="The signature, if it is not FILE.sig or FOLDER/model.sig."),
    ] = None,
) -> None:
    """Check that a model file is whole, loadable, answers its self-test, and is, with --sha256 or --key, the one meant.

    Of a folder that was exported it checks, with --key, that these files and no others were signed.

    Exits 0 and says "verified", or exits 4 and says which check failed.

    Example:  mlcycle model verify models/face.onnx --sha256 4f2a…
    """
    if signature is not None and key is None:
        raise UsageError("--signature takes a key to check it with", "name the public one: --key PUB")
    if file.is_dir():
        _verify_folder(file, sha256, key, signature)
        return
    from mlcycle.artifact.seal import digest_path, read_sealed

    expected = _expected(sha256, file)
    sealed = read_sealed(file)
    if expected is not None and sealed.sha256 != expected:
        raise ModelFileError(
            f"{file} is not the file that is meant: its sha256 is {sealed.sha256}", "fetch it again from its source"
        )
    if key is not None:
        _check_signature(sealed, key, signature)
    # Imported late: that a file is damaged can be told without onnxruntime.
    from mlcycle.inference.detect import load_sealed
    from mlcycle.inference.record import printable

    detector = load_sealed(sealed, provider="cpu", threads=1)
    beside = digest_path(file)
    checks = {
        "seal": True,
        beside.name: beside.exists(),
        "--sha256": expected is not None,
        "signature": key is not None,
        "operators and contract": True,
        "self-test": detector.session.self_test is not None,
    }
    console.data(f"verified {sealed.sha256}  {printable(str(file))}")
    console.say(f"checked: {', '.join(name for name, was in checks.items() if was)}")


def _expected(sha256: str | None, file: Path) -> str | None:
    expected = sha256.strip().lower() if sha256 is not None else None
    if expected is not None and (len(expected) != 64 or set(expected) - set("0123456789abcdef")):
        raise UsageError("a sha256 has 64 hexadecimal digits", f"sha256sum {file} prints one")
    return expected


def _verify_folder(folder: Path, sha256: str | None, key: Path | None, signature: Path | None) -> None:
    if key is None or sha256 is not None:
        raise UsageError(
            f"{folder} is a folder, of which a signature is checked and nothing else",
            "name the public key: --key PUB; to check digests: sha256sum -c SHA256SUMS",
        )
    public = _public(key)
    with extra("sign", "--key"):
        from mlcycle.artifact.signing.signature import check_folder

        signed = check_folder(folder, public, signature)
    _tell(signed, public)
    console.data(f"verified {len(signed.digests)} files  {folder}")


def _check_signature(sealed: SealedBytes, key: Path, signature: Path | None) -> None:
    public = _public(key)
    with extra("sign", "--key"):
        from mlcycle.artifact.signing.signature import check_file

        signed = check_file(sealed, public, signature)
    _tell(signed, public)


def _public(key: Path) -> PublicKey:
    from mlcycle.cli.model.keys import public_key

    return public_key(key, "--key")


def _tell(signed: Manifest, public: PublicKey) -> None:
    from mlcycle.inference.record import printable

    console.say(f"{printable(signed.name)} was signed by the {public.kind} key {public.fingerprint}")
