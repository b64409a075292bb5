"""The keys that sign model files: generating, writing and reading them.

A private key is a file NAME.key (PKCS 8, PEM) that only its owner may read; a public key is a file NAME.pub
(SubjectPublicKeyInfo, PEM). openssl writes the same forms. `cryptography` is imported in the functions that use it, so
that commands without signatures do not need it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mlcycle import files
from mlcycle.errors import InputError, UsageError

Kind = Literal["p256", "ed25519"]
MAX_BYTES = 1 << 16
MAKE = "mlcycle model keys new NAME makes NAME.key and NAME.pub"
# Curve → (name here, hash of the message). Only the first one is generated; the others are read.
_CURVES = {"secp256r1": ("p256", "SHA256"), "secp384r1": ("p384", "SHA384"), "secp521r1": ("p521", "SHA512")}


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that verifies signatures.

    Attributes:
        kind: p256, p384, p521 or ed25519.
        fingerprint: sha256, in hex, of the key as DER; for people to compare.
        hint: sha256, in hex, of the key as PEM; signature files identify their key by it.
    """

    kind: str
    fingerprint: str
    hint: str
    _raw: Any

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Returns whether this key's private half signed the message."""
        from cryptography.exceptions import InvalidSignature

        try:
            self._raw.verify(signature, message, *_signing_arguments(self._raw))
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A signing key and its public half."""

    public: PublicKey
    _raw: Any

    def sign(self, message: bytes) -> bytes:
        """Returns a signature; ed25519 is deterministic, ECDSA (as DER) is not."""
        return self._raw.sign(message, *_signing_arguments(self._raw))


def generate(kind: Kind) -> PrivateKey:
    """Generates a new key."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    raw = ed25519.Ed25519PrivateKey.generate() if kind == "ed25519" else ec.generate_private_key(ec.SECP256R1())
    return PrivateKey(_public(raw.public_key()), raw)


def write_pair(key: PrivateKey, name: Path, passphrase: bytes | None = None) -> tuple[Path, Path]:
    """Writes NAME.key, readable only by its owner from the start, and NAME.pub; returns their paths.

    Raises:
        InputError: one of them exists or cannot be written; then neither is left behind.
    """
    from cryptography.hazmat.primitives import serialization as form

    private, public = Path(f"{name}.key"), Path(f"{name}.pub")
    if not private.parent.is_dir():
        raise InputError(f"no such folder: {private.parent}", "create it first, or choose another place")
    for path in (private, public):
        if os.path.lexists(path):
            raise _taken(path)
    lock = form.BestAvailableEncryption(passphrase) if passphrase else form.NoEncryption()
    _create(private, key._raw.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, lock), 0o600)
    try:
        _create(public, _pem(key.public._raw), 0o644)
    except BaseException:
        private.unlink()
        raise
    return private, public


def read_private(path: Path, passphrase: Callable[[], bytes]) -> PrivateKey:
    """Reads a private key; `passphrase` is called if the key is encrypted.

    Raises:
        UsageError: it is a public key.
        InputError: other users can read it, it is not a key of a known kind, or the passphrase is wrong.
    """
    data = _read(path)
    if b"PRIVATE KEY-----" not in data and b"PUBLIC KEY-----" in data:
        raise UsageError(f"{path} is a public key, and signing needs a private key", "pass the file NAME.key")
    from cryptography.hazmat.primitives.serialization import load_pem_private_key as load

    try:
        raw = _loaded(path, lambda: load(data, None))
    except TypeError:  # cryptography raises it if a passphrase is needed
        word = passphrase()
        try:
            raw = load(data, word)
        except ValueError:
            raise InputError(f"wrong passphrase for the key {path}", "try again") from None
    return PrivateKey(_public(raw.public_key(), path), raw)


def read_public(path: Path) -> PublicKey:
    """Reads a public key.

    Raises:
        UsageError: it is a private key.
        InputError: it cannot be read, or is not a key of a known kind.
    """
    data = _read(path)
    if b"PRIVATE KEY-----" in data:
        raise UsageError(f"{path} is a private key, and verifying needs the public key", "pass the file NAME.pub")
    from cryptography.hazmat.primitives.serialization import load_pem_public_key as load

    return _public(_loaded(path, lambda: load(data)), path)


def read_either(path: Path, passphrase: Callable[[], bytes]) -> tuple[PublicKey, bool]:
    """Reads a private or public key; returns the public half and whether it is private. Raises as both of them do."""
    if b"PRIVATE KEY-----" in _read(path):
        return read_private(path, passphrase).public, True
    return read_public(path), False


def _loaded(path: Path, load: Callable[[], Any]) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return load()
    except (ValueError, UnsupportedAlgorithm):
        raise InputError(f"{path} is not a PEM key", MAKE) from None


def _public(raw: Any, path: Path | None = None) -> PublicKey:
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ed25519

    curve = getattr(getattr(raw, "curve", None), "name", None)
    if curve not in _CURVES and not isinstance(raw, ed25519.Ed25519PublicKey):
        raise InputError(f"{path} is neither an elliptic-curve (P-256) nor an ed25519 key", MAKE)
    der = raw.public_bytes(form.Encoding.DER, form.PublicFormat.SubjectPublicKeyInfo)
    kind = _CURVES[curve][0] if curve else "ed25519"
    return PublicKey(kind, hashlib.sha256(der).hexdigest(), hashlib.sha256(_pem(raw)).hexdigest(), raw)


def _signing_arguments(raw: Any) -> tuple[Any, ...]:
    """Returns the further arguments of a cryptography key's sign and verify."""
    if not hasattr(raw, "curve"):
        return ()
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    return (ec.ECDSA(getattr(hashes, _CURVES[raw.curve.name][1])()),)


def _pem(raw: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization as form

    return raw.public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode  # of the opened file itself
            data = file.read(MAX_BYTES)
    except OSError as problem:
        raise InputError(f"the key {path} cannot be read: {problem.strerror}", MAKE) from None
    if b"PRIVATE KEY-----" in data and stat.S_ISREG(mode) and mode & 0o077:
        raise InputError(f"other users can read the private key {path}", f"chmod 600 {path}")
    return data


def _create(path: Path, data: bytes, mode: int) -> None:
    try:
        with files.atomic(path, mode=mode) as file:
            file.write(data)
    except FileExistsError:
        raise _taken(path) from None
    except OSError as problem:
        raise InputError(f"{path} cannot be written: {problem.strerror}", "choose another place") from None


def _taken(path: Path) -> InputError:
    return InputError(f"{path} exists, and a key is never overwritten", "choose another name, or move that file")
