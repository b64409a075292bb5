"""`mlcycle model sign`: signs a model file or an exported folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlcycle.cli import console
from mlcycle.cli.model.keys import PassphraseFileOption, passphrase_reader
from mlcycle.errors import UsageError
from mlcycle.extras import extra


def sign(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The model file, or an exported folder.", show_default=False)
    ],
    *,
    key: Annotated[Path, typer.Option("--key", metavar="KEY", help="The private key.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="SIG",
            help="Output file. Default: FILE.sig, or FOLDER/model.sig.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing signature.")] = False,
    passphrase_file: PassphraseFileOption = None,
) -> None:
    """Sign a model file or an exported folder with a private key.

    Verifies the seal of a model file first. The signature is an OpenSSF Model Signing bundle; see docs/signing.md.

    Example:  mlcycle model sign models/face.onnx --key release.key
    """
    from mlcycle.artifact.seal import read_sealed

    sealed = None if file.is_dir() else read_sealed(file)
    path = sealed.path if sealed else file
    if out is None and _is_bundled(path):
        raise UsageError(f"{file} is part of the package, next to which nothing is written", "choose a file: --out SIG")
    if out is not None and out.resolve() in (path.resolve(), key.resolve()):
        raise UsageError(f"{out} is the signed file or the key", "choose another file: --out SIG")
    with extra("sign", "mlcycle model sign"):
        from mlcycle.artifact.signing import keys, signature

        out = out or signature.signature_path(path)
        signature.must_be_free(out, overwrite=overwrite)
        private_key = keys.read_private(key, passphrase_reader(passphrase_file, str(key)))
        if sealed:
            signature.sign_file(sealed, private_key, out, overwrite=overwrite)
        else:
            signature.sign_folder(file, private_key, out, overwrite=overwrite)
    public = private_key.public
    console.say(f"written: {out}, signed with the {public.kind} key {public.fingerprint}")
    console.data(f"signed {sealed.sha256}  {file}" if sealed else f"signed {file}")


def _is_bundled(path: Path) -> bool:
    from mlcycle.artifact import bundled

    return path.resolve().parent == bundled.FOLDER.resolve()
