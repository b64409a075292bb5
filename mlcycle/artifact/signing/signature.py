"""A model's signature file: a Sigstore bundle (v0.3, JSON) with a DSSE envelope, as in OpenSSF Model Signing.

The envelope holds the statement of statement.py and a signature over its bytes and type. It is read from the outside
in: the statement is not parsed before its signature is verified. A model file is checked as SealedBytes, so exactly the
verified bytes are loaded.
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

from mlcycle import files
from mlcycle.artifact.seal import SealedBytes, read_file
from mlcycle.artifact.signing.keys import PrivateKey, PublicKey
from mlcycle.artifact.signing.statement import (
    IGNORED,
    Manifest,
    from_json,
    must_be_file,
    must_be_folder,
    of_file,
    of_folder,
)
from mlcycle.errors import InputError, ModelFileError

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_BYTES = 1 << 20
_AGAIN = "fetch the signature again, or sign again: mlcycle model sign"


def signature_path(model: Path) -> Path:
    """Returns the path of a model's signature: NAME.sig next to a file, model.sig in a folder."""
    return model / "model.sig" if model.is_dir() else model.with_name(model.name + ".sig")


def sign_file(sealed: SealedBytes, key: PrivateKey, out: Path | None = None, *, overwrite: bool = False) -> Path:
    """Signs the verified bytes of a model file, writes the signature and returns its path.

    Raises:
        InputError: there is a signature and `overwrite` is off, or it cannot be written.
    """
    out = out or signature_path(sealed.path)
    write(bundle(of_file(sealed.sha256, sealed.path), key), out, overwrite=overwrite)
    return out


def sign_folder(folder: Path, key: PrivateKey, out: Path | None = None, *, overwrite: bool = False) -> Path:
    """Signs all files of a folder, writes the signature and returns its path.

    Raises:
        InputError: as sign_file does; or a file of the folder cannot be signed.
    """
    out = out or signature_path(folder)
    target = out.resolve()
    inside = target.is_relative_to(folder.resolve())
    own = (target.relative_to(folder.resolve()).as_posix(),) if inside else ()
    write(bundle(of_folder(folder, (*IGNORED, *own)), key), out, overwrite=overwrite)
    return out


def check_file(sealed: SealedBytes, key: PublicKey, signature: Path | None = None) -> Manifest:
    """Checks that the key signed exactly these bytes, and returns the signed manifest.

    Args:
        signature: the signature file; None for NAME.sig next to the model file.

    Raises:
        ModelFileError: no signature, or it was made with another key, was altered, or signs something else.
    """
    source = signature or signature_path(sealed.path)
    signed = read(source, key)
    must_be_file(signed, sealed.sha256, sealed.path, source)
    return signed


def check_folder(folder: Path, key: PublicKey, signature: Path | None = None) -> Manifest:
    """Checks that the key signed exactly the files of a folder, and returns the signed manifest.

    A caller that loads one of the files later must compare the loaded bytes with the manifest's digest.

    Raises:
        ModelFileError: as check_file does; or a file cannot be read.
    """
    source = signature or signature_path(folder)
    signed = read(source, key)
    must_be_folder(signed, folder, source)
    return signed


def bundle(manifest: Manifest, key: PrivateKey) -> bytes:
    """Returns the bytes of a signature of a manifest."""
    payload = manifest.to_json()
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"sig": base64.b64encode(key.sign(_encoded(payload))).decode(), "keyid": ""}],
    }
    verification = {"publicKey": {"hint": key.public.hint}, "tlogEntries": []}
    document = {"mediaType": MEDIA_TYPE, "verificationMaterial": verification, "dsseEnvelope": envelope}
    return json.dumps(document, separators=(",", ":")).encode()


def read(path: Path, key: PublicKey) -> Manifest:
    """Reads a signature, verifies it, and returns the signed manifest.

    Raises:
        ModelFileError: it is missing, too large, not a bundle of this version, by another key, or altered.
    """
    return verified(_bytes(path), path, key)


def verified(data: bytes, path: Path, key: PublicKey) -> Manifest:
    """Verifies the bytes of a signature and returns the signed manifest; errors name `path`.

    Raises:
        ModelFileError: they are not a bundle of this version, by another key, or altered.
    """
    hint, payload, signature = _parsed(data, path)
    if hint is not None and hint != key.hint:
        raise ModelFileError(
            f"{path} was made with another key: its hint is {hint[:16]!a}, that of the given key {key.hint[:16]!a}",
            "use the signer's public key; mlcycle model keys show prints a key's hint",
        )
    if not key.verifies(signature, _encoded(payload)):
        what = f"the signature in {path} does not verify with the {key.kind} key {key.fingerprint[:16]}"
        raise ModelFileError(what, "it was altered; do not use the model until you know why")
    return from_json(payload, path)


def write(data: bytes, path: Path, *, overwrite: bool = False) -> None:
    """Writes a signature atomically and read-only.

    Raises:
        InputError: it exists and `overwrite` is off, or it cannot be written.
    """
    must_be_free(path, overwrite=overwrite)
    files.write(path, data, overwrite=overwrite, mode=0o444, hint="choose another place with --out")


def must_be_free(path: Path, *, overwrite: bool) -> None:
    """Raises InputError if this name is taken and must not be replaced."""
    if path.is_dir() or (os.path.lexists(path) and not overwrite):
        raise InputError(f"{path} already exists", "choose another file with --out, or pass --overwrite")


def _encoded(payload: bytes) -> bytes:
    """Returns the signed bytes in DSSE: the type and the payload, each after its length."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def _bytes(path: Path) -> bytes:
    try:
        return read_file(path, MAX_BYTES)
    except FileNotFoundError:
        hint = (
            "the model's author writes it with mlcycle model sign; mlcycle model verify --signature names another place"
        )
        raise ModelFileError(f"no such signature: {path}", hint) from None
    except OSError as problem:
        raise ModelFileError(f"the signature {path} cannot be read: {problem.strerror}", _AGAIN) from None


def _parsed(data: bytes, path: Path) -> tuple[str | None, bytes, bytes]:
    """Returns the key's hint (None in older bundles), the payload and the signature of it."""
    try:
        document = json.loads(data.decode("utf-8"))
        _must_be_known(document["mediaType"], document["verificationMaterial"], path)
        return _unpacked(document)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ModelFileError(f"{path} is not a Sigstore bundle, or is damaged", _AGAIN) from None


def _must_be_known(media_type: str, verification: dict[str, Any], path: Path) -> None:
    if media_type != MEDIA_TYPE and media_type.startswith("application/vnd.dev.sigstore.bundle"):
        what = f"{path} is a bundle of an unknown version: {media_type[:80]!a}"
        raise ModelFileError(what, "install a newer mlcycle, or sign again: mlcycle model sign")
    if "certificate" in verification or "x509CertificateChain" in verification:
        what = f"{path} was made with a certificate, and mlcycle verifies signatures by keys only"
        raise ModelFileError(what, "check it with the program model_signing, or sign with a key: mlcycle model sign")


def _unpacked(document: dict[str, Any]) -> tuple[str | None, bytes, bytes]:
    _refuse_other_keys(document, {"mediaType", "verificationMaterial", "dsseEnvelope"})
    verification, envelope = document["verificationMaterial"], document["dsseEnvelope"]
    _refuse_other_keys(verification, {"publicKey", "tlogEntries", "timestampVerificationData"})
    _refuse_other_keys(verification["publicKey"], {"hint", "rawBytes", "keyDetails"})
    _refuse_other_keys(envelope, {"payload", "payloadType", "signatures"})
    (signature,) = envelope["signatures"]
    _refuse_other_keys(signature, {"sig", "keyid"})
    hint, types = verification["publicKey"].get("hint"), (document["mediaType"], envelope["payloadType"])
    if types != (MEDIA_TYPE, PAYLOAD_TYPE) or not isinstance(hint, str | None):
        raise ValueError
    return hint, _base64(envelope["payload"]), _base64(signature["sig"])


def _refuse_other_keys(values: dict[str, Any], allowed: set[str]) -> None:
    if values.keys() - allowed:
        raise ValueError


def _base64(text: str) -> bytes:
    """Decodes base64; raises ValueError unless the text is the canonical encoding of the bytes."""
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:
        raise ValueError
    return data
