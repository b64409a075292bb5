"""Signatures: what they say, that the public program says the same, and that whatever is altered is refused."""

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

stranger = pytest.mark.skipif(not (find_spec("model_signing") and find_spec("OpenSSL")), reason="no model_signing")
KINDS: tuple[keys.Kind, ...] = ("p256", "ed25519")


@pytest.fixture(scope="module", params=KINDS)
def key(request: pytest.FixtureRequest) -> keys.PrivateKey:
    return keys.generate(request.param)


@pytest.fixture
def model(tmp_path: Path) -> SealedBytes:
    return read_sealed(write_tiny_model(tmp_path / "tiny.onnx"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of several files; sorted as text, sub.txt would come before sub/weights."""
    folder = tmp_path / "exported"
    (folder / "sub").mkdir(parents=True)
    for name in ("graph.xml", "sub/weights", "sub.txt", ".hidden", ".gitattributes", "ünï"):
        (folder / name).write_text(name * 100)
    return folder


def theirs(*arguments: str | Path) -> tuple[int, str]:
    """Runs the public program model_signing; returns its code and what it says."""
    command = [sys.executable, "-m", "model_signing", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment())
    return done.returncode, done.stdout + done.stderr


def pair(tmp_path: Path) -> tuple[keys.PrivateKey, Path, Path]:
    made = keys.generate("p256")
    return made, *keys.write_pair(made, tmp_path / "release")


def said_of(path: Path) -> dict[str, Any]:
    """Returns the statement that a signature holds."""
    return json.loads(base64.b64decode(json.loads(path.read_text())["dsseEnvelope"]["payload"]))


def refused(path: Path, model: SealedBytes, key: keys.PublicKey) -> str:
    with pytest.raises(ModelFileError) as problem:
        signature.check_file(model, key, path)
    assert problem.value.hint
    return problem.value.message


@stranger
def test_the_public_program_verifies_our_signature_of_a_file(model: SealedBytes, tmp_path: Path) -> None:
    private, _, public = pair(tmp_path)
    path = signature.sign_file(model, private)
    assert theirs("verify", "key", model.path, "--signature", path, "--public_key", public)[0] == 0


@stranger
def test_we_verify_a_signature_of_the_public_program_of_a_file(model: SealedBytes, tmp_path: Path) -> None:
    private, name, public = pair(tmp_path)
    path, own = tmp_path / "theirs.sig", tmp_path / "own.sig"
    assert theirs("sign", "key", model.path, "--signature", path, "--private_key", name)[0] == 0
    signature.check_file(model, keys.read_public(public), path)
    signature.sign_file(model, private, own)
    assert said_of(own)["subject"] == said_of(path)["subject"]


@stranger
def test_the_public_program_verifies_our_signature_of_a_folder(folder: Path, tmp_path: Path) -> None:
    private, _, public = pair(tmp_path)
    path = signature.sign_folder(folder, private)
    assert path == folder / "model.sig"
    assert theirs("verify", "key", folder, "--signature", path, "--public_key", public)[0] == 0


@stranger
@pytest.mark.parametrize("place", ["exported/model.sig", "beside.sig"])
def test_we_verify_a_signature_of_the_public_program_of_a_folder(place: str, folder: Path, tmp_path: Path) -> None:
    private, name, public = pair(tmp_path)
    path, own = tmp_path / place, tmp_path / "own.sig"
    assert theirs("sign", "key", folder, "--signature", path, "--private_key", name)[0] == 0
    signed = signature.check_folder(folder, keys.read_public(public), path)
    assert list(signed.digests) == [".hidden", "graph.xml", "sub/weights", "sub.txt", "ünï"]
    if place == "beside.sig":
        signature.sign_folder(folder, private, own)
        assert said_of(own)["subject"] == said_of(path)["subject"]


def test_what_was_signed_is_verified_and_nothing_else(model: SealedBytes, key: keys.PrivateKey) -> None:
    path = signature.sign_file(model, key)
    assert path == Path(f"{model.path}.sig")
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    signed = signature.check_file(model, key.public)
    assert (signed.name, signed.digests) == ("tiny.onnx", {".": model.sha256})
    assert said_of(path)["predicateType"] == "https://model_signing/signature/v1.0"


def test_ed25519_gives_the_same_bytes_again(model: SealedBytes, tmp_path: Path) -> None:
    key = keys.generate("ed25519")
    first, second = (signature.sign_file(model, key, tmp_path / name) for name in ("a.sig", "b.sig"))
    assert first.read_bytes() == second.read_bytes()


def test_every_byte_counts(model: SealedBytes, key: keys.PrivateKey) -> None:
    path = signature.sign_file(model, key)
    whole = path.read_bytes()
    assert signature.verified(whole, path, key.public).digests == {".": model.sha256}
    for place in range(len(whole)):
        bit = 0x20 if place % 2 else 0x01  # 0x20 turns small letters into capitals
        with pytest.raises(ModelFileError):
            signature.verified(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :], path, key.public)


def test_a_part_of_a_signature_is_none(model: SealedBytes, key: keys.PrivateKey) -> None:
    path = signature.sign_file(model, key)
    whole = path.read_bytes()
    for length in range(len(whole)):
        with pytest.raises(ModelFileError, match="is no signature in the form of a Sigstore bundle"):
            signature.verified(whole[:length], path, key.public)
    path.chmod(0o644)
    path.write_bytes(whole[: len(whole) // 2])
    assert "is no signature in the form" in refused(path, model, key.public)


def test_what_goes_wrong_is_told_apart(model: SealedBytes, key: keys.PrivateKey, tmp_path: Path) -> None:
    other = keys.generate("ed25519" if key.public.kind == "p256" else "p256")
    path = tmp_path / "one.sig"
    good = json.loads(signature.bundle(statement.of_file(model.sha256, model.path), key))
    foreign = json.loads(signature.bundle(statement.of_file(model.sha256, model.path), other))
    forged = {**foreign, "verificationMaterial": good["verificationMaterial"]}
    older = {**good, "mediaType": "application/vnd.dev.sigstore.bundle.v0.1+json"}
    certified = {**good, "verificationMaterial": {"certificate": {"rawBytes": ""}}}
    several = statement.Manifest("folder", {"a": model.sha256, "b": model.sha256})
    renamed = statement.Manifest("other.onnx", {"other.onnx": model.sha256})
    cases: list[bytes | None] = [
        None,
        b" " * ((1 << 20) + 1),
        b"no bundle",
        *(json.dumps(each).encode() for each in (older, certified, foreign, forged)),
        *(signature.bundle(each, key) for each in (statement.of_file("0" * 64, model.path), renamed, several)),
        signed_by(key, b"{}"),
        signed_by(key, model_statement(predicateType="https://model_signing/Digests/v0.1")),
        signed_by(key, model_statement(method="shards")),
    ]
    said = []
    for case in cases:
        if case is not None:
            path.write_bytes(case)
        said.append(re.sub("[0-9a-f]{16,}", "DIGEST", refused(path, model, key.public)))
    assert len(set(said)) == len(cases)
    assert all("one.sig" in each or "tiny.onnx" in each for each in said)


def test_another_key_is_named_by_its_hint(model: SealedBytes, key: keys.PrivateKey) -> None:
    path = signature.sign_file(model, key)
    other = keys.generate(key.public.kind)  # type: ignore[arg-type]
    said = refused(path, model, other.public)
    assert key.public.hint[:16] in said
    assert other.public.hint[:16] in said


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_hint_the_signature_itself_tells(kind: keys.Kind, model: SealedBytes, key: keys.PrivateKey) -> None:
    path = signature.sign_file(model, key)
    bundle = json.loads(path.read_bytes())
    bundle["verificationMaterial"] = {"publicKey": {"rawBytes": "", "keyDetails": "PKIX_ECDSA_P256_SHA_256"}}
    path.chmod(0o644)
    path.write_text(json.dumps(bundle))
    signature.check_file(model, key.public)
    assert "does not verify" in refused(path, model, keys.generate(kind).public)


def test_a_forger_who_seals_again_is_found(model: SealedBytes, key: keys.PrivateKey) -> None:
    signature.sign_file(model, key)
    data = bytearray(model.data)
    data[data.index(b"written by hand")] ^= 1
    model.path.chmod(0o644)
    model.path.write_bytes(seal_bytes(bytes(data[:-64]) + b"0" * 64))
    Path(f"{model.path}.sha256").unlink()
    forged = read_sealed(model.path)
    said = refused(Path(f"{model.path}.sig"), forged, key.public)
    assert "is not what was signed" in said
    assert forged.sha256 in said
    assert model.sha256 in said


def test_a_renamed_file_is_refused_since_a_key_may_sign_several_models(
    model: SealedBytes, key: keys.PrivateKey
) -> None:
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
def test_what_is_no_bundle_is_said_to_be_none(wrapped: str, model: SealedBytes, tmp_path: Path) -> None:
    path = tmp_path / "one.sig"
    path.write_text(wrapped)
    assert "is no signature in the form" in refused(path, model, keys.generate("ed25519").public)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_a_pipe_in_a_signatures_place_is_not_waited_for(model: SealedBytes, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "tiny.onnx.sig")
    assert "it is a pipe or a device" in refused(tmp_path / "tiny.onnx.sig", model, keys.generate("ed25519").public)


@pytest.mark.parametrize("field", ["tlogEntries", "hint", "keyid", "signatures", "payloadType", "sig"])
def test_bundles_of_other_shapes_are_refused_where_they_could_mean_more(
    field: str, model: SealedBytes, key: keys.PrivateKey, tmp_path: Path
) -> None:
    path = tmp_path / "one.sig"
    text = signature.bundle(statement.of_file(model.sha256, model.path), key).decode()
    path.write_text(text.replace(f'"{field}"', f'"x{field}"'))
    assert "is no signature in the form" in refused(path, model, key.public)
    envelope = json.loads(text)["dsseEnvelope"]
    twice = {**json.loads(text), "dsseEnvelope": {**envelope, "signatures": envelope["signatures"] * 2}}
    path.write_text(json.dumps(twice))
    assert "is no signature in the form" in refused(path, model, key.public)


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
def test_a_statement_that_makes_no_sense_is_refused_though_it_is_signed(
    change: dict[str, Any], model: SealedBytes, tmp_path: Path
) -> None:
    key, path = keys.generate("ed25519"), tmp_path / "one.sig"
    path.write_bytes(signed_by(key, model_statement(**change)))
    assert "makes no sense as a list of files" in refused(path, model, key.public)


def test_the_bytes_that_are_checked_are_the_bytes_that_are_loaded(
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
    monkeypatch.setattr(detect, "open_session", lambda *_, **__: pytest.fail("what is not signed was looked into"))
    with pytest.raises(ModelFileError, match="is not what was signed"):
        detect.load_detector(model.path, provider="cpu", signed_by=key.public)


def test_a_signature_is_not_overwritten_unless_it_is_asked_for(model: SealedBytes, key: keys.PrivateKey) -> None:
    path = signature.sign_file(model, key)
    first = path.read_bytes()
    other = keys.generate("ed25519")
    with pytest.raises(InputError, match="exists already"):
        signature.sign_file(model, other)
    assert path.read_bytes() == first
    signature.sign_file(model, other, overwrite=True)
    signature.check_file(model, other.public)
    assert sorted(each.name for each in path.parent.iterdir()) == ["tiny.onnx", "tiny.onnx.sha256", "tiny.onnx.sig"]


def test_a_signature_that_came_meanwhile_is_not_overwritten(
    model: SealedBytes, key: keys.PrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = signature.signature_path(model.path)
    honest = signature.must_be_free

    def slow(path: Path, *, overwrite: bool) -> None:
        honest(path, overwrite=overwrite)
        path.write_text("another one's")

    monkeypatch.setattr(signature, "must_be_free", slow)
    with pytest.raises(InputError, match="exists already"):
        signature.sign_file(model, key)
    assert path.read_text() == "another one's"


def test_a_folder_is_what_was_signed_or_says_what_is_not(folder: Path, key: keys.PrivateKey) -> None:
    signature.sign_folder(folder, key)
    (folder / ".gitattributes").write_text("not part of a model")
    assert "sub/weights" in signature.check_folder(folder, key.public).digests
    (folder / "graph.xml").rename(folder / "graph2.xml")
    (folder / "sub" / ".gitattributes").write_text("part of a model, here")
    (folder / "sub.txt").write_text("changed")
    with pytest.raises(ModelFileError) as problem:
        signature.check_folder(folder, key.public)
    assert problem.value.message == (
        f"{folder} does not hold what was signed: graph.xml is missing, graph2.xml was not signed, "
        "sub/.gitattributes was not signed, and 1 more"
    )


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
    with pytest.raises(InputError, match="holds no files"):
        signature.sign_folder(empty, key)
    if sys.platform == "linux":
        Path(str(folder).encode().decode() + "/\udcff").write_text("x")
        with pytest.raises(InputError, match="is not UTF-8"):
            signature.sign_folder(folder, key)


def signed_by(key: keys.PrivateKey, payload: bytes) -> bytes:
    """Returns a bundle of any payload, with a signature that verifies."""

    class Said:
        to_json: Callable[[], bytes] = staticmethod(lambda: payload)

    return signature.bundle(Said(), key)  # type: ignore[arg-type]


def model_statement(**changes: Any) -> bytes:
    """Returns the statement of one file with some fields changed, wherever they stand."""
    whole = json.loads(statement.of_file("0" * 64, Path("x")).to_json())
    for name, value in changes.items():
        place = whole["predicate"] if name == "resources" else whole
        place = whole["predicate"]["serialization"] if name in ("method", "ignore_paths") else place
        place[name] = value
    if isinstance(changes.get("resources"), list):
        digests = b"".join(bytes.fromhex(each["digest"]) for each in changes["resources"])
        whole["subject"][0]["digest"]["sha256"] = hashlib.sha256(digests).hexdigest()
    return json.dumps(whole).encode()
