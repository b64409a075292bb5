"""`mlcycle inspect` and `mlcycle verify`: what a model file says of itself, and whether it is what it was."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcycle.cli import console

if TYPE_CHECKING:
    from mlcycle.artifact.seal import SealedBytes

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The model file.")]


class CardFormat(StrEnum):
    text = "text"
    json = "json"
    md = "md"


def inspect(
    file: FileArgument,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document; the same as --format json.")
    ] = False,
    form: Annotated[
        CardFormat | None,
        typer.Option("--format", help="How to print it; md is a model card to lie beside the file. Default: text."),
    ] = None,
) -> None:
    """Show what a model file is: what for, how to use it, where it comes from, what it is made of.

    The file is verified first; a damaged one exits 4. Its self-test is run, and its multiply-adds are counted, on the
    CPU. With -v, text has every setting of the recipe, as json and md always have.

    Example:  mlcycle inspect models/face.onnx --format md
    """
    from mlcycle.errors import UsageError
    from mlcycle.inspecting import card

    if as_json and form not in (None, CardFormat.json):
        raise UsageError(f"--json and --format {form.value} ask for two things", "leave out one of them")
    document = card.examine(file)
    if as_json or form is CardFormat.json:
        console.data(card.as_json(document))
        return
    from mlcycle.inspecting import card_sections, markdown, page

    if form is CardFormat.md:
        sections = card_sections.sections(document, file=Path(document["file"]).name, whole=True)
        console.data(markdown.render(str(document["contract"]["name"]), card_sections.summary(document), sections))
    else:
        sections = card_sections.sections(document, file=str(file), whole=console.is_verbose())
        page.put(sections, console.out_console, console.data)


def verify(
    file: FileArgument,
    sha256: Annotated[
        str | None, typer.Option("--sha256", metavar="HEX", help="The digest that the whole file must have.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--key", metavar="PUB", help="The public key that must have signed the file.")
    ] = None,
    signature: Annotated[
        Path | None, typer.Option("--signature", metavar="SIG", help="The signature, if it is not FILE.sig.")
    ] = None,
) -> None:
    """Check that a model file is whole, sealed, loadable and, with --sha256 or --key, the very one that is meant.

    Exits 0 and says "verified", or exits 4 and says which check failed.

    Example:  mlcycle verify models/face.onnx --sha256 4f2a…
    """
    from mlcycle.artifact.seal import digest_path, read_sealed
    from mlcycle.errors import ModelFileError, UsageError

    if signature is not None and key is None:
        raise UsageError("--signature takes a key to check it with", "name the public one: --key PUB")
    expected = sha256.strip().lower() if sha256 is not None else None
    if expected is not None and (len(expected) != 64 or set(expected) - set("0123456789abcdef")):
        raise UsageError("a sha256 has 64 hexadecimal digits", f"sha256sum {file} prints one")
    sealed = read_sealed(file)
    if expected is not None and sealed.sha256 != expected:
        raise ModelFileError(
            f"{file} is not the file that is meant: its sha256 is {sealed.sha256}", "fetch it again from its source"
        )
    if key is not None:
        _check_signature(sealed, key, signature)
    # Imported late: that a file is damaged can be told without onnxruntime.
    from mlcycle.inference.session import open_session

    open_session(sealed, provider="cpu", threads=1)
    beside = digest_path(file)
    checks = [
        "seal",
        *([beside.name] if beside.exists() else []),
        *(["--sha256"] if expected else []),
        *(["signature"] if key else []),
        "contract",
    ]
    console.data(f"verified {sealed.sha256}  {file}")
    console.say(f"checked: {', '.join(checks)}")


def _check_signature(sealed: SealedBytes, key: Path, signature: Path | None) -> None:
    from mlcycle.cli.extras import extra
    from mlcycle.cli.keys import public_key

    public = public_key(key, "--key")
    with extra("sign", "--key"):
        from mlcycle.artifact.signature import check_file

        signed = check_file(sealed, public, signature)
    name = f", as {signed.name}" if signed.name != sealed.path.name else ""
    console.say(f"signed by the {public.kind} key {public.fingerprint}{name}")
