"""`mlcycle model verify`: checks the integrity and origin of a model file or an exported folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcycle.cli import completions, console
from mlcycle.counted import counted
from mlcycle.errors import ModelFileError, UsageError
from mlcycle.extras import extra

if TYPE_CHECKING:
    from mlcycle.artifact.seal import SealedBytes
    from mlcycle.artifact.signing.keys import PublicKey
    from mlcycle.artifact.signing.statement import Manifest


def verify(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", autocompletion=completions.models, help="The model file, or an exported folder."
        ),
    ],
    sha256: Annotated[
        str | None, typer.Option("--sha256", metavar="HEX", help="The sha256 that the file must have.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--key", metavar="PUB", help="The public key of the required signer.")
    ] = None,
    signature: Annotated[
        Path | None,
        typer.Option("--signature", metavar="SIG", help="The signature. Default: FILE.sig, or FOLDER/model.sig."),
    ] = None,
) -> None:
    """Verify seal, operators, contract, self-test and signature.

    With --sha256, the file must have this digest; with --key, it must be signed by this key. For an exported folder,
    --key is required, and exactly its files must be signed.

    Exits 0 and prints "verified", or exits 4 with the check that failed.

    Example:  mlcycle model verify models/face.onnx --sha256 4f2a…
    """
    if signature is not None and key is None:
        raise UsageError("--signature needs a public key", "pass it: --key PUB")
    if file.is_dir():
        _verify_folder(file, sha256, key, signature)
        return
    from mlcycle.artifact.seal import digest_path, read_sealed

    expected = _expected(sha256, file)
    sealed = read_sealed(file)
    if expected is not None and sealed.sha256 != expected:
        raise ModelFileError(f"the sha256 of {file} is {sealed.sha256}, not the required one", "download it again")
    if key is not None:
        _check_signature(sealed, key, signature)
    # Imported late: damage is detected without onnxruntime.
    from mlcycle.inference.detect import load_sealed
    from mlcycle.inference.record import printable

    detector = load_sealed(sealed, provider="cpu", threads=1)
    digest_file = digest_path(file)
    checks = {
        "seal": True,
        digest_file.name: digest_file.exists(),
        "--sha256": expected is not None,
        "signature": key is not None,
        "operators and contract": True,
        "self-test": detector.session.self_test is not None,
    }
    console.data(f"verified {sealed.sha256}  {printable(str(file))}")
    console.say(f"checked: {', '.join(name for name, done in checks.items() if done)}")


def _expected(sha256: str | None, file: Path) -> str | None:
    expected = sha256.strip().lower() if sha256 is not None else None
    if expected is not None and (len(expected) != 64 or set(expected) - set("0123456789abcdef")):
        raise UsageError("a sha256 has 64 hexadecimal digits", f"sha256sum {file} prints one")
    return expected


def _verify_folder(folder: Path, sha256: str | None, key: Path | None, signature: Path | None) -> None:
    if key is None or sha256 is not None:
        raise UsageError(
            f"{folder} is a folder; only its signature can be verified",
            "pass the public key: --key PUB; to check digests, run sha256sum -c SHA256SUMS",
        )
    public = _public(key)
    with extra("sign", "--key"):
        from mlcycle.artifact.signing.signature import check_folder

        signed = check_folder(folder, public, signature)
    _report_signer(signed, public)
    console.data(f"verified {counted(len(signed.digests), 'file')}  {folder}")


def _check_signature(sealed: SealedBytes, key: Path, signature: Path | None) -> None:
    public = _public(key)
    with extra("sign", "--key"):
        from mlcycle.artifact.signing.signature import check_file

        signed = check_file(sealed, public, signature)
    _report_signer(signed, public)


def _public(key: Path) -> PublicKey:
    from mlcycle.cli.model.keys import public_key

    return public_key(key, "--key")


def _report_signer(signed: Manifest, public: PublicKey) -> None:
    from mlcycle.inference.record import printable

    console.say(f"{printable(signed.name)} was signed by the {public.kind} key {public.fingerprint}")
