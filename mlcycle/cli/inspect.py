"""`mlcycle inspect` and `mlcycle verify`: what a model file says of itself, and whether it is what it was."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlcycle.cli import console

if TYPE_CHECKING:
    from mlcycle.artifact.contract import Contract
    from mlcycle.artifact.seal import SealedBytes

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The model file.")]


def inspect(
    file: FileArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
) -> None:
    """Show what a model file says of itself: digest, size, contract and where it comes from.

    The file is verified first; a damaged one exits 4.

    Example:  mlcycle inspect models/face.onnx --json
    """
    import json

    from mlcycle.artifact.seal import read_sealed
    from mlcycle.inference.session import open_session

    sealed = read_sealed(file)
    contract = open_session(sealed, provider="cpu", threads=1).contract
    facts = _facts(sealed, contract)
    console.data(json.dumps(facts, indent=2, ensure_ascii=True) if as_json else _table(facts))


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


def _facts(sealed: SealedBytes, contract: Contract) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "file": str(sealed.path),
        "sha256": sealed.sha256,
        "bytes": len(sealed.data),
        "contract": asdict(contract),
    }


def _table(facts: dict[str, Any]) -> str:
    """Returns the facts as two columns; what stands inside something is named with a dot: resize.long_side."""
    from mlcycle.inference.record import printable

    contract = dict(facts["contract"])
    training = contract.pop("training")
    rows = [
        ("file", facts["file"]),
        ("sha256", facts["sha256"]),
        ("size", f"{facts['bytes']:,} bytes"),
        ("", ""),
        *_rows(contract),
        ("", ""),
        *_rows(training, "training."),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {printable(value)}".rstrip() for name, value in rows).rstrip()


def _rows(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            rows += _rows(value, f"{prefix}{name}.")
        elif isinstance(value, (list, tuple)) and value and all(isinstance(each, dict) for each in value):
            rows += [row for place, each in enumerate(value) for row in _rows(each, f"{prefix}{name}.{place}.")]
        elif isinstance(value, (list, tuple)):
            rows.append((prefix + name, ", ".join(map(str, value)) or "none"))
        else:
            rows.append((prefix + name, "none" if value is None else str(value)))
    return rows
