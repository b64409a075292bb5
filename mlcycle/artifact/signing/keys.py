"""The keys that sign model files: how they are made, kept and read.

A private key is a file NAME.key (PKCS 8, PEM) that nobody but its owner may read, a public one a file NAME.pub
(SubjectPublicKeyInfo, PEM), as openssl writes them too. `cryptography` is imported where it is used, and so only where
a signature is asked for.
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
MOST_BYTES = 1 << 16
MAKE = "mlcycle keys new NAME makes NAME.key and NAME.pub"
# What elliptic curves are called here, and what is hashed by before they sign. The first one can be made as well.
_CURVES = {"secp256r1": ("p256", "SHA256"), "secp384r1": ("p384", "SHA384"), "secp521r1": ("p521", "SHA512")}


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that checks signatures.

    Attributes:
        kind: p256, p384, p521 or ed25519.
        fingerprint: sha256, in hex, of the key as DER: what people compare.
        hint: sha256, in hex, of the key as PEM: how signature files say which key they mean.
    """

    kind: str
    fingerprint: str
    hint: str
    _raw: Any

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Tells whether this key's private half signed the message."""
        from cryptography.exceptions import InvalidSignature

        try:
            self._raw.verify(signature, message, *_way(self._raw))
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A key that signs, and its public half."""

    public: PublicKey
    _raw: Any

    def sign(self, message: bytes) -> bytes:
        """Returns a signature; ed25519 gives the same one each time, elliptic curves (ECDSA, as DER) do not."""
        return self._raw.sign(message, *_way(self._raw))


def generate(kind: Kind) -> PrivateKey:
    """Makes a new key."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    raw = ed25519.Ed25519PrivateKey.generate() if kind == "ed25519" else ec.generate_private_key(ec.SECP256R1())
    return PrivateKey(_public(raw.public_key()), raw)


def write_pair(key: PrivateKey, name: Path, passphrase: bytes | None = None) -> tuple[Path, Path]:
    """Writes NAME.key, readable by its owner alone from its first byte on, and NAME.pub; returns their paths.

    Raises:
        InputError: one of them exists, or cannot be written; then neither is left.
    """
    from cryptography.hazmat.primitives import serialization as form

    private, public = Path(f"{name}.key"), Path(f"{name}.pub")
    if not private.parent.is_dir():
        raise InputError(f"there is no folder {private.parent}", "make it first, or choose another place")
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
    """Reads a private key; `passphrase` is called if it takes one.

    Raises:
        UsageError: it is a public key.
        InputError: others can read it, it is no key or none of a known kind, or the passphrase does not open it.
    """
    data = _read(path)
    if b"PRIVATE KEY-----" not in data and b"PUBLIC KEY-----" in data:
        raise UsageError(f"{path} is a public key, and a private one is needed to sign", "name the file NAME.key")
    from cryptography.hazmat.primitives.serialization import load_pem_private_key as load

    try:
        raw = _loaded(path, lambda: load(data, None))
    except TypeError:  # so cryptography says that there is a passphrase
        word = passphrase()
        try:
            raw = load(data, word)
        except ValueError:
            raise InputError(f"the passphrase does not open the key {path}", "try again") from None
    return PrivateKey(_public(raw.public_key(), path), raw)


def read_public(path: Path) -> PublicKey:
    """Reads a public key.

    Raises:
        UsageError: it is a private key.
        InputError: it cannot be read, is no key, or none of a known kind.
    """
    data = _read(path)
    if b"PRIVATE KEY-----" in data:
        raise UsageError(f"{path} is a private key, and to check a signature takes the public one", "name NAME.pub")
    from cryptography.hazmat.primitives.serialization import load_pem_public_key as load

    return _public(_loaded(path, lambda: load(data)), path)


def read_either(path: Path, passphrase: Callable[[], bytes]) -> tuple[PublicKey, bool]:
    """Reads a key of either sort; returns its public half, and whether it is private. Raises as both of them do."""
    if b"PRIVATE KEY-----" in _read(path):
        return read_private(path, passphrase).public, True
    return read_public(path), False


def _loaded(path: Path, load: Callable[[], Any]) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return load()
    except (ValueError, UnsupportedAlgorithm):
        raise InputError(f"{path} holds no key as PEM", MAKE) from None


def _public(raw: Any, path: Path | None = None) -> PublicKey:
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ed25519

    curve = getattr(getattr(raw, "curve", None), "name", None)
    if curve not in _CURVES and not isinstance(raw, ed25519.Ed25519PublicKey):
        raise InputError(f"{path} holds a key of another kind than elliptic curves (P-256) and ed25519", MAKE)
    der = raw.public_bytes(form.Encoding.DER, form.PublicFormat.SubjectPublicKeyInfo)
    kind = _CURVES[curve][0] if curve else "ed25519"
    return PublicKey(kind, hashlib.sha256(der).hexdigest(), hashlib.sha256(_pem(raw)).hexdigest(), raw)


def _way(raw: Any) -> tuple[Any, ...]:
    """Returns what a key of cryptography's has to be told beside message and signature."""
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
            mode = os.fstat(file.fileno()).st_mode  # of the very file that is read
            data = file.read(MOST_BYTES)
    except OSError as problem:
        raise InputError(f"the key {path} cannot be read: {problem.strerror}", MAKE) from None
    if b"PRIVATE KEY-----" in data and stat.S_ISREG(mode) and mode & 0o077:
        raise InputError(f"the private key {path} is open to others than its owner", f"chmod 600 {path}")
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
    return InputError(f"{path} exists, and a key is never overwritten", "choose another name, or move it away")
