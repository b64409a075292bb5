"""Signatures: their contents, compatibility with the public program model_signing, and refusal of any change."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from conftest import environment
from tiny_model import CONTRACT, tiny_bytes, write_tiny_model

pytest.importorskip("cryptography")

from mlcycle.artifact.seal import SealedBytes, read_sealed, seal_bytes
from mlcycle.artifact.signing import keys, signature, statement
from mlcycle.errors import InputError, ModelFileError
from mlcycle.inference import detect

needs_model_signing = pytest.mark.skipif(
    not (find_spec("model_signing") and find_spec("OpenSSL")), reason="no model_signing"
)
KINDS: tuple[keys.Kind, ...] = ("p256", "ed25519")


@pytest.fixture(scope="module", params=KINDS)
def key(request: pytest.FixtureRequest) -> keys.PrivateKey:
    return keys.generate(request.param)


@pytest.fixture
def model(tmp_path: Path) -> SealedBytes:
    return read_sealed(write_tiny_model(tmp_path / "tiny.onnx"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of several files; as text, sub.txt would sort before sub/weights."""
    folder = tmp_path / "exported"
    (folder / "sub").mkdir(parents=True)
    for name in ("graph.xml", "sub/weights", "sub.txt", ".hidden", ".gitattributes", "ünï"):
        (folder / name).write_text(name * 100)
    return folder


def model_signing(*arguments: str | Path) -> tuple[int, str]:
    """Runs the public program model_signing; returns its exit code and output."""
    command = [sys.executable, "-m", "model_signing", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment())
    return done.returncode, done.stdout + done.stderr


def pair(tmp_path: Path) -> tuple[keys.PrivateKey, Path, Path]:
    made = keys.generate("p256")
    return made, *keys.write_pair(made, tmp_path / "release")


def statement_of(path: Path) -> dict[str, Any]:
    """Returns the statement in a signature."""
    return json.loads(base64.b64decode(json.loads(path.read_text())["dsseEnvelope"]["payload"]))


def refused(path: Path, model: SealedBytes, key: keys.PublicKey) -> str:
    with pytest.raises(ModelFileError) as problem:
        signature.check_file(model, key, path)
    assert problem.value.hint
    return problem.value.message


@needs_model_signing
def test_model_signing_verifies_a_signed_file(model: SealedBytes, tmp_path: Path) -> None:
    private, _, public = pair(tmp_path)
    path = signature.sign_file(model, private)
    assert model_signing("verify", "key", model.path, "--signature", path, "--public_key", public)[0] == 0


@needs_model_signing
def test_a_file_signed_by_model_signing_is_verified(model: SealedBytes, tmp_path: Path) -> None:
    private, name, public = pair(tmp_path)
    path, own = tmp_path / "theirs.sig", tmp_path / "own.sig"
    assert model_signing("sign", "key", model.path, "--signature", path, "--private_key", name)[0] == 0
    signature.check_file(model, keys.read_public(public), path)
    signature.sign_file(model, private, own)
    assert statement_of(own)["subject"] == statement_of(path)["subject"]


@needs_model_signing
def test_model_signing_verifies_a_signed_folder(folder: Path, tmp_path: Path) -> None:
    private, _, public = pair(tmp_path)
    path = signature.sign_folder(folder, private)
    assert path == folder / "model.sig"
    assert model_signing("verify", "key", folder, "--signature", path, "--public_key", public)[0] == 0


@needs_model_signing
@pytest.mark.parametrize("place", ["exported/model.sig", "outside.sig"])
@pytest.mark.slow
def test_a_folder_signed_by_model_signing_is_verified(place: str, folder: Path, tmp_path: Path) -> None:
    private, name, public = pair(tmp_path)
    path, own = tmp_path / place, tmp_path / "own.sig"
    assert model_signing("sign", "key", folder, "--signature", path, "--private_key", name)[0] == 0
    signed = signature.check_folder(folder, keys.read_public(public), path)
    assert list(signed.digests) == [".hidden", "graph.xml", "sub/weights", "sub.txt", "ünï"]
    if place == "outside.sig":
        signature.sign_folder(folder, private, own)
        assert statement_of(own)["subject"] == statement_of(path)["subject"]


def test_a_signed_file_is_verified(model: SealedBytes, key: keys.PrivateKey) -> None:
    path = signature.sign_file(model, key)
    assert path == Path(f"{model.path}.sig")
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    signed = signature.check_file(model, key.public)
    assert (signed.name, signed.digests) == ("tiny.onnx", {".": model.sha256})
    assert statement_of(path)["predicateType"] == "https://model_signing/signature/v1.0"


def test_ed25519_gives_the_same_bytes_again(model: SealedBytes, tmp_path: Path) -> None:
    key = keys.generate("ed25519")
    first, second = (signature.sign_file(model, key, tmp_path / name) for name in ("a.sig", "b.sig"))
    assert first.read_bytes() == second.read_bytes()


def test_any_changed_byte_is_refused(model: SealedBytes, key: keys.PrivateKey) -> None:
    path = signature.sign_file(model, key)
    whole = path.read_bytes()
    assert signature.verified(whole, path, key.public).digests == {".": model.sha256}
    for place in range(len(whole)):
        bit = 0x20 if place % 2 else 0x01  # 0x20 changes the case of a letter
        with pytest.raises(ModelFileError):
            signature.verified(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :], path, key.public)


def test_a_truncated_signature_is_refused(model: SealedBytes, key: keys.PrivateKey) -> None:
    path = signature.sign_file(model, key)
    whole = path.read_bytes()
    for length in range(len(whole)):
        with pytest.raises(ModelFileError, match="is not a Sigstore bundle"):
            signature.verified(whole[:length], path, key.public)
    path.chmod(0o644)
    path.write_bytes(whole[: len(whole) // 2])
    assert "is not a Sigstore bundle" in refused(path, model, key.public)


def test_each_failure_has_its_own_error(model: SealedBytes, key: keys.PrivateKey, tmp_path: Path) -> None:
    other = keys.generate("ed25519" if key.public.kind == "p256" else "p256")
    path = tmp_path / "one.sig"
    good = json.loads(signature.bundle(statement.of_file(model.sha256, model.path), key))
    foreign = json.loads(signature.bundle(statement.of_file(model.sha256, model.path), other))
    forged = {**foreign, "verificationMaterial": good["verificationMaterial"]}
    older = {**good, "mediaType": "application/vnd.dev.sigstore.bundle.v0.1+json"}
    certified = {**good, "verificationMaterial": {"certificate": {"rawBytes": ""}}}
    two_files = statement.Manifest("folder", {"a": model.sha256, "b": model.sha256})
    renamed = statement.Manifest("other.onnx", {"other.onnx": model.sha256})
    cases: list[bytes | None] = [
        None,
        b" " * ((1 << 20) + 1),
        b"no bundle",
        *(json.dumps(each).encode() for each in (older, certified, foreign, forged)),
        *(signature.bundle(each, key) for each in (statement.of_file("0" * 64, model.path), renamed, two_files)),
        signed_by(key, b"{}"),
        signed_by(key, model_statement(predicateType="https://model_signing/Digests/v0.1")),
        signed_by(key, model_statement(method="shards")),
    ]
    errors = []
    for case in cases:
        if case is not None:
            path.write_bytes(case)
        errors.append(re.sub("[0-9a-f]{16,}", "DIGEST", refused(path, model, key.public)))
    assert len(set(errors)) == len(cases)
    assert all("one.sig" in each or "tiny.onnx" in each for each in errors)


def test_another_key_is_named_by_its_hint(model: SealedBytes, key: keys.PrivateKey) -> None:
    path = signature.sign_file(model, key)
    other = keys.generate(key.public.kind)  # type: ignore[arg-type]
    error = refused(path, model, other.public)
    assert key.public.hint[:16] in error
    assert other.public.hint[:16] in error


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_hint_the_signature_itself_decides(kind: keys.Kind, model: SealedBytes, key: keys.PrivateKey) -> None:
    path = signature.sign_file(model, key)
    bundle = json.loads(path.read_bytes())
    bundle["verificationMaterial"] = {"publicKey": {"rawBytes": "", "keyDetails": "PKIX_ECDSA_P256_SHA_256"}}
    path.chmod(0o644)
    path.write_text(json.dumps(bundle))
    signature.check_file(model, key.public)
    assert "does not verify" in refused(path, model, keys.generate(kind).public)


def test_a_changed_and_resealed_file_is_refused(model: SealedBytes, key: keys.PrivateKey) -> None:
    signature.sign_file(model, key)
    data = bytearray(model.data)
    data[data.index(b"written by hand")] ^= 1
    model.path.chmod(0o644)
    model.path.write_bytes(seal_bytes(bytes(data[:-64]) + b"0" * 64))
    Path(f"{model.path}.sha256").unlink()
    forged = read_sealed(model.path)
    error = refused(Path(f"{model.path}.sig"), forged, key.public)
    assert "is not the signed file" in error
    assert forged.sha256 in error
    assert model.sha256 in error


def test_a_renamed_file_is_refused(model: SealedBytes, key: keys.PrivateKey) -> None:
    signature.sign_file(model, key)
    for suffix in ("", ".sig"):
        Path(f"{model.path}{suffix}").rename(model.path.with_name(f"new.onnx{suffix}"))
    with pytest.raises(ModelFileError, match=r"new\.onnx was signed under another name: 'tiny\.onnx'"):
        signature.check_file(read_sealed(model.path.with_name("new.onnx")), key.public)


@pytest.mark.parametrize(
    "wrapped",
    ["[]", "3", "null", '"text"', "[" * 200_000, '{"mediaType": 3}', "NaN", "\ufeff{}",
     '{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "verificationMaterial": 3}'],
)  # fmt: skip
def test_other_json_is_not_a_bundle(wrapped: str, model: SealedBytes, tmp_path: Path) -> None:
    path = tmp_path / "one.sig"
    path.write_text(wrapped)
    assert "is not a Sigstore bundle" in refused(path, model, keys.generate("ed25519").public)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_read_as_a_signature(model: SealedBytes, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "tiny.onnx.sig")
    assert "it is a pipe or a device" in refused(tmp_path / "tiny.onnx.sig", model, keys.generate("ed25519").public)


@pytest.mark.parametrize("field", ["tlogEntries", "hint", "keyid", "signatures", "payloadType", "sig"])
def test_bundles_with_other_fields_are_refused(
    field: str, model: SealedBytes, key: keys.PrivateKey, tmp_path: Path
) -> None:
    path = tmp_path / "one.sig"
    text = signature.bundle(statement.of_file(model.sha256, model.path), key).decode()
    path.write_text(text.replace(f'"{field}"', f'"x{field}"'))
    assert "is not a Sigstore bundle" in refused(path, model, key.public)
    envelope = json.loads(text)["dsseEnvelope"]
    twice = {**json.loads(text), "dsseEnvelope": {**envelope, "signatures": envelope["signatures"] * 2}}
    path.write_text(json.dumps(twice))
    assert "is not a Sigstore bundle" in refused(path, model, key.public)


@pytest.mark.parametrize(
    "change",
    [
        {"resources": []},
        {"resources": 3},
        {"resources": [{"name": "../x", "algorithm": "sha256", "digest": "0" * 64}]},
        {"resources": [{"name": "/x", "algorithm": "sha256", "digest": "0" * 64}]},
        {"resources": [{"name": "a//x", "algorithm": "sha256", "digest": "0" * 64}]},
        {"resources": [{"name": "", "algorithm": "sha256", "digest": "0" * 64}]},
        {"resources": [{"name": "x", "algorithm": "sha256", "digest": "0" * 62}]},
        {"resources": [{"name": "x", "algorithm": "blake3", "digest": "0" * 64}]},
        {"resources": [{"name": "x", "algorithm": "sha256", "digest": "0" * 64}] * 2},
        {"resources": [{"name": each, "algorithm": "sha256", "digest": "0" * 64} for each in (".", "x")]},
        {"ignore_paths": ["."]},
        {"ignore_paths": 3},
        {"subject": []},
        {"subject": [{"name": "x", "digest": {"sha256": "0" * 64}}]},
    ],
)
def test_a_signed_but_invalid_statement_is_refused(change: dict[str, Any], model: SealedBytes, tmp_path: Path) -> None:
    key, path = keys.generate("ed25519"), tmp_path / "one.sig"
    path.write_bytes(signed_by(key, model_statement(**change)))
    assert "does not sign a valid list of files" in refused(path, model, key.public)


def test_the_verified_bytes_are_the_loaded_bytes(
    model: SealedBytes, key: keys.PrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    signature.sign_file(model, key)
    changed = tiny_bytes(contract_json=CONTRACT.to_json().replace('"name":"tiny"', '"name":"evil"'))

    def swapped(path: Path) -> SealedBytes:
        sealed = read_sealed(path)
        path.chmod(0o644)
        path.write_bytes(changed)
        return sealed

    monkeypatch.setattr(detect, "read_sealed", swapped)
    detector = detect.load_detector(model.path, provider="cpu", signed_by=key.public)
    assert (detector.contract.name, detector.sha256) == ("tiny", model.sha256)
    monkeypatch.undo()
    Path(f"{model.path}.sha256").unlink()
    monkeypatch.setattr(detect, "open_session", lambda *_, **__: pytest.fail("an unsigned file was parsed"))
    with pytest.raises(ModelFileError, match="is not the signed file"):
        detect.load_detector(model.path, provider="cpu", signed_by=key.public)


def test_a_signature_is_overwritten_only_on_request(model: SealedBytes, key: keys.PrivateKey) -> None:
    path = signature.sign_file(model, key)
    first = path.read_bytes()
    other = keys.generate("ed25519")
    with pytest.raises(InputError, match="already exists"):
        signature.sign_file(model, other)
    assert path.read_bytes() == first
    signature.sign_file(model, other, overwrite=True)
    signature.check_file(model, other.public)
    assert sorted(each.name for each in path.parent.iterdir()) == ["tiny.onnx", "tiny.onnx.sha256", "tiny.onnx.sig"]


def test_a_signature_created_meanwhile_is_not_overwritten(
    model: SealedBytes, key: keys.PrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = signature.signature_path(model.path)
    original = signature.must_be_free

    def slow(path: Path, *, overwrite: bool) -> None:
        original(path, overwrite=overwrite)
        path.write_text("another file")

    monkeypatch.setattr(signature, "must_be_free", slow)
    with pytest.raises(InputError, match="already exists"):
        signature.sign_file(model, key)
    assert path.read_text() == "another file"


def test_changes_of_a_signed_folder_are_listed(folder: Path, key: keys.PrivateKey) -> None:
    signature.sign_folder(folder, key)
    (folder / ".gitattributes").write_text("not part of a model")
    assert "sub/weights" in signature.check_folder(folder, key.public).digests
    (folder / "graph.xml").rename(folder / "graph2.xml")
    (folder / "sub" / ".gitattributes").write_text("part of a model, here")
    (folder / "sub.txt").write_text("changed")
    with pytest.raises(ModelFileError) as problem:
        signature.check_folder(folder, key.public)
    assert problem.value.message == (
        f"{folder} is not the signed folder: graph.xml is missing, graph2.xml was not signed, "
        "sub/.gitattributes was not signed, and 1 more"
    )


def test_a_signed_folder_is_refused_under_another_name(folder: Path, key: keys.PrivateKey, tmp_path: Path) -> None:
    signature.sign_folder(folder, key)
    other = folder.rename(tmp_path / "renamed")
    with pytest.raises(ModelFileError, match="signed under another name: 'exported'"):
        signature.check_folder(other, key.public)
    (tmp_path / "exported").symlink_to(other)
    with pytest.raises(ModelFileError, match="signed under another name: 'exported'"):
        signature.check_folder(tmp_path / "exported", key.public)


@pytest.mark.parametrize("target", ["sub.txt", "sub", "nowhere"])
def test_links_in_a_folder_are_neither_signed_nor_followed(target: str, folder: Path, key: keys.PrivateKey) -> None:
    signature.sign_folder(folder, key)
    (folder / "sub" / "link").symlink_to(folder / target)
    with pytest.raises(InputError, match="is a link"):
        signature.sign_folder(folder, key, overwrite=True)
    with pytest.raises(ModelFileError, match="is a link"):
        signature.check_folder(folder, key.public)


def test_an_empty_folder_and_a_name_that_is_not_utf8_cannot_be_signed(folder: Path, key: keys.PrivateKey) -> None:
    empty = folder.with_name("empty")
    (empty / "inside").mkdir(parents=True)
    with pytest.raises(InputError, match="contains no files"):
        signature.sign_folder(empty, key)
    if sys.platform == "linux":
        Path(str(folder).encode().decode() + "/\udcff").write_text("x")
        with pytest.raises(InputError, match="is not UTF-8"):
            signature.sign_folder(folder, key)


def signed_by(key: keys.PrivateKey, payload: bytes) -> bytes:
    """Returns a bundle of any payload, with a signature that verifies."""

    class Payload:
        to_json: Callable[[], bytes] = staticmethod(lambda: payload)

    return signature.bundle(Payload(), key)  # type: ignore[arg-type]


def model_statement(**changes: Any) -> bytes:
    """Returns the statement of one file with some fields changed, at any level."""
    whole = json.loads(statement.of_file("0" * 64, Path("x")).to_json())
    for name, value in changes.items():
        place = whole["predicate"] if name == "resources" else whole
        place = whole["predicate"]["serialization"] if name in ("method", "ignore_paths") else place
        place[name] = value
    if isinstance(changes.get("resources"), list):
        digests = b"".join(bytes.fromhex(each["digest"]) for each in changes["resources"])
        whole["subject"][0]["digest"]["sha256"] = hashlib.sha256(digests).hexdigest()
    return json.dumps(whole).encode()
