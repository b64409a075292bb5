"""`mlcycle model sign`: a signature beside a model file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlcycle.cli import console
from mlcycle.cli.model.keys import PassphraseFileOption, asked
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
            help="What to write. Default: FILE.sig, or FOLDER/model.sig.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a signature that is there.")] = False,
    passphrase_file: PassphraseFileOption = None,
) -> None:
    """Sign a model file or an exported folder: say, by a key, that these bytes are the ones that are meant.

    The seal of a model file is verified first. The signature is an OpenSSF Model Signing bundle; see docs/signing.md.

    Example:  mlcycle model sign models/face.onnx --key release.key
    """
    from mlcycle.artifact.seal import read_sealed

    sealed = None if file.is_dir() else read_sealed(file)
    path = sealed.path if sealed else file
    if out is None and _belongs_to_the_package(path):
        raise UsageError(f"{file} belongs to the package, beside which nothing is written", "name a file: --out SIG")
    if out is not None and out.resolve() in (path.resolve(), key.resolve()):
        raise UsageError(f"{out} is what is signed, or the key", "name another file: --out SIG")
    with extra("sign", "mlcycle model sign"):
        from mlcycle.artifact.signing import keys, signature

        out = out or signature.signature_path(path)
        signature.must_be_free(out, overwrite=overwrite)
        private = keys.read_private(key, asked(passphrase_file, str(key)))
        if sealed:
            signature.sign_file(sealed, private, out, overwrite=overwrite)
        else:
            signature.sign_folder(file, private, out, overwrite=overwrite)
    console.say(f"written: {out}, by the {private.public.kind} key {private.public.fingerprint}")
    console.data(f"signed {sealed.sha256}  {file}" if sealed else f"signed {file}")


def _belongs_to_the_package(path: Path) -> bool:
    from mlcycle.artifact import bundled

    return path.resolve().parent == bundled.FOLDER.resolve()
