"""A signature beside a model: a Sigstore bundle (v0.3, JSON) with a DSSE envelope, as OpenSSF Model Signing has it.

The envelope holds the statement of statement.py and a signature over its bytes and type. It is read from the outside
in: nothing looks into the statement before the signature is verified. Where the bytes of a model file are checked they
are SealedBytes, and so the very ones that are loaded.
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
MOST_BYTES = 1 << 20
_AGAIN = "fetch the signature again, or sign again: mlcycle sign"


def signature_path(model: Path) -> Path:
    """Returns where the signature of a model file or folder stands: NAME.sig beside it, model.sig in it."""
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
    place = out.resolve()
    inside = place.is_relative_to(folder.resolve())
    own = (place.relative_to(folder.resolve()).as_posix(),) if inside else ()
    write(bundle(of_folder(folder, (*IGNORED, *own)), key), out, overwrite=overwrite)
    return out


def check_file(sealed: SealedBytes, key: PublicKey, signature: Path | None = None) -> Manifest:
    """Checks that the key signed these very bytes, and returns what it signed.

    Args:
        signature: its file; None for the one beside the model file.

    Raises:
        ModelFileError: there is no signature, it was made with another key, altered, or for something else.
    """
    source = signature or signature_path(sealed.path)
    signed = read(source, key)
    must_be_file(signed, sealed.sha256, sealed.path, source)
    return signed


def check_folder(folder: Path, key: PublicKey, signature: Path | None = None) -> Manifest:
    """Checks that the key signed the files of a folder, no more and no fewer, and returns what it signed.

    Whoever loads a file later must compare the bytes that are loaded with the manifest's digest.

    Raises:
        ModelFileError: as check_file does; or a file cannot be read.
    """
    source = signature or signature_path(folder)
    signed = read(source, key)
    must_be_folder(signed, folder, source)
    return signed


def bundle(manifest: Manifest, key: PrivateKey) -> bytes:
    """Returns the bytes of a signature of what the manifest lists."""
    payload = manifest.to_json()
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"sig": base64.b64encode(key.sign(_encoded(payload))).decode(), "keyid": ""}],
    }
    training_data = {"publicKey": {"hint": key.public.hint}, "tlogEntries": []}
    whole = {"mediaType": MEDIA_TYPE, "verificationMaterial": training_data, "dsseEnvelope": envelope}
    return json.dumps(whole, separators=(",", ":")).encode()


def read(path: Path, key: PublicKey) -> Manifest:
    """Reads a signature, verifies it, and returns what was signed.

    Raises:
        ModelFileError: it is missing, too large, no bundle of this version, by another key, or altered.
    """
    return verified(_bytes(path), path, key)


def verified(data: bytes, path: Path, key: PublicKey) -> Manifest:
    """Verifies the bytes of a signature and returns what was signed; `path` is where they came from, for errors.

    Raises:
        ModelFileError: they are no bundle of this version, by another key, or altered.
    """
    hint, payload, signature = _parsed(data, path)
    if hint is not None and hint != key.hint:
        raise ModelFileError(
            f"{path} was made with another key: its hint is {hint[:16]!a}, and of the key given {key.hint[:16]!a}",
            "take the public key of whoever signed; mlcycle keys show prints the hint of one",
        )
    if not key.verifies(signature, _encoded(payload)):
        what = f"the signature in {path} does not verify with the {key.kind} key {key.fingerprint[:16]}"
        raise ModelFileError(what, "it was altered; do not use the model before you know why")
    return from_json(payload, path)


def write(data: bytes, path: Path, *, overwrite: bool = False) -> None:
    """Writes a signature, whole or not at all, and read-only.

    Raises:
        InputError: there is one and `overwrite` is off, or it cannot be written.
    """
    must_be_free(path, overwrite=overwrite)
    files.write(path, data, overwrite=overwrite, mode=0o444, hint="choose another place with --out")


def must_be_free(path: Path, *, overwrite: bool) -> None:
    """Raises InputError if there is a signature of this name that may not be replaced."""
    if path.is_dir() or (os.path.lexists(path) and not overwrite):
        raise InputError(f"{path} exists already", "name another file with --out, or say --overwrite")


def _encoded(payload: bytes) -> bytes:
    """Returns what is signed in DSSE: the payload and its type, each behind its length."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def _bytes(path: Path) -> bytes:
    try:
        return read_file(path, MOST_BYTES)
    except FileNotFoundError:
        what = "its author writes it with mlcycle sign; mlcycle verify --signature takes it from elsewhere"
        raise ModelFileError(f"there is no signature {path}", what) from None
    except OSError as problem:
        raise ModelFileError(f"the signature {path} cannot be read: {problem.strerror}", _AGAIN) from None


def _parsed(data: bytes, path: Path) -> tuple[str | None, bytes, bytes]:
    """Returns the hint of the key (None in older bundles), the payload and the signature over it."""
    try:
        whole = json.loads(data.decode("utf-8"))
        _must_be_known(whole["mediaType"], whole["verificationMaterial"], path)
        return _taken_apart(whole)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ModelFileError(
            f"{path} is no signature in the form of a Sigstore bundle, or is damaged", _AGAIN
        ) from None


def _must_be_known(media_type: str, training_data: dict[str, Any], path: Path) -> None:
    if media_type != MEDIA_TYPE and media_type.startswith("application/vnd.dev.sigstore.bundle"):
        what = f"{path} is a bundle of a version that this mlcycle does not know: {media_type[:80]!a}"
        raise ModelFileError(what, "install a newer mlcycle, or sign again: mlcycle sign")
    if "certificate" in training_data or "x509CertificateChain" in training_data:
        what = f"{path} was made with a certificate, and mlcycle checks signatures by keys"
        raise ModelFileError(what, "check it with the program model_signing, or sign with a key: mlcycle sign")


def _taken_apart(whole: dict[str, Any]) -> tuple[str | None, bytes, bytes]:
    _only(whole, {"mediaType", "verificationMaterial", "dsseEnvelope"})
    training_data, envelope = whole["verificationMaterial"], whole["dsseEnvelope"]
    _only(training_data, {"publicKey", "tlogEntries", "timestampVerificationData"})
    _only(training_data["publicKey"], {"hint", "rawBytes", "keyDetails"})
    _only(envelope, {"payload", "payloadType", "signatures"})
    (signature,) = envelope["signatures"]
    _only(signature, {"sig", "keyid"})
    hint = training_data["publicKey"].get("hint")
    if (whole["mediaType"], envelope["payloadType"]) != (MEDIA_TYPE, PAYLOAD_TYPE) or not isinstance(hint, str | None):
        raise ValueError
    return hint, _unpacked(envelope["payload"]), _unpacked(signature["sig"])


def _only(thing: dict[str, Any], names: set[str]) -> None:
    if thing.keys() - names:
        raise ValueError


def _unpacked(text: str) -> bytes:
    """Returns the bytes of a base64 text; raises ValueError if it is not the one text that stands for them."""
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:
        raise ValueError
    return data
