"""The keys that sign model files: file permissions, no overwriting, and files that are not keys."""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Outcome

pytest.importorskip("cryptography")

from mlcycle.artifact.signing import keys
from mlcycle.errors import InputError, MlcycleError, UsageError

Run = Callable[..., Outcome]
KINDS: tuple[keys.Kind, ...] = ("p256", "ed25519")


def no_passphrase() -> bytes:
    raise AssertionError("no passphrase was set")


@pytest.fixture
def no_mask() -> Iterator[None]:
    """Sets the umask to 0, so that new files get exactly the requested mode."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A private key, with its public half in release.pub."""
    return keys.write_pair(keys.generate("p256"), tmp_path / "release")[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_written_pair_is_read_again(kind: keys.Kind, tmp_path: Path) -> None:
    made = keys.generate(kind)
    private, public = keys.write_pair(made, tmp_path / "a.b")
    assert (private.name, public.name) == ("a.b.key", "a.b.pub")
    again = keys.read_private(private, no_passphrase)
    assert keys.read_public(public).fingerprint == again.public.fingerprint == made.public.fingerprint
    assert keys.read_public(public).verifies(again.sign(b"message"), b"message")
    assert not keys.read_public(public).verifies(again.sign(b"message"), b"massage")


def test_the_private_key_is_created_readable_only_by_its_owner(
    tmp_path: Path, no_mask: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    original = os.open

    def spying(path: Path, flags: int, *arguments: int) -> int:
        handle = original(path, flags, *arguments)
        if flags & os.O_CREAT:
            seen.append((stat.S_IMODE(os.fstat(handle).st_mode), os.fstat(handle).st_size))
        return handle

    monkeypatch.setattr(os, "open", spying)
    private, public = keys.write_pair(keys.generate("ed25519"), tmp_path / "release")
    assert seen == [(0o600, 0), (0o644, 0)]
    assert [stat.S_IMODE(path.stat().st_mode) for path in (private, public)] == [0o600, 0o644]


@pytest.mark.parametrize("taken", ["release.key", "release.pub"])
@pytest.mark.parametrize("link", [False, True])
def test_neither_file_is_ever_overwritten(taken: str, link: bool, tmp_path: Path, mlcycle: Run) -> None:
    if link:
        (tmp_path / taken).symlink_to(tmp_path / "elsewhere")
    else:
        (tmp_path / taken).write_text("mine")
    outcome = mlcycle("model", "keys", "new", tmp_path / "release")
    assert (outcome.code, outcome.out) == (3, "")
    assert f"{taken} exists, and a key is never overwritten" in outcome.err
    assert [each.name for each in tmp_path.iterdir()] == [taken]
    assert link or (tmp_path / taken).read_text() == "mine"


def test_no_private_key_is_left_if_the_public_one_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "release.pub").write_text("created meanwhile")
    monkeypatch.setattr(os.path, "lexists", lambda path: False)
    with pytest.raises(InputError, match="never overwritten"):
        keys.write_pair(keys.generate("p256"), tmp_path / "release")
    assert [each.name for each in tmp_path.iterdir()] == ["release.pub"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_private_key_that_others_can_read_is_refused(mode: int, key: Path, mlcycle: Run) -> None:
    key.chmod(mode)
    for command in (
        ("model", "keys", "show", key),
        ("model", "sign", "face-nano", "--out", key.with_name("sig"), "--key", key),
    ):
        outcome = mlcycle(*command)
        assert (outcome.code, outcome.out) == (3, "")
        assert outcome.err == f"error: other users can read the private key {key}\nhint: chmod 600 {key}\n"
    key.chmod(0o600)
    assert mlcycle("model", "keys", "show", key).code == 0


def test_the_fingerprint_is_the_digest_of_the_der_key(key: Path, mlcycle: Run, tmp_path: Path) -> None:
    public = key.with_suffix(".pub")
    der = base64.b64decode("".join(public.read_text().splitlines()[1:-1]))
    fingerprint, hint = hashlib.sha256(der).hexdigest(), hashlib.sha256(public.read_bytes()).hexdigest()
    assert mlcycle("model", "keys", "show", public).out == (
        f"type         p256, public\nfingerprint  {fingerprint}\nhint         {hint}\n"
    )
    assert (
        mlcycle("model", "keys", "show", key).out.splitlines()[1:]
        == mlcycle("model", "keys", "show", public).out.splitlines()[1:]
    )
    made = mlcycle("model", "keys", "new", tmp_path / "new", "--type", "ed25519")
    digest, name = made.out.split()
    assert name == str(tmp_path / "new.pub")
    assert digest in mlcycle("model", "keys", "show", name).out


@pytest.mark.parametrize("kind", KINDS)
def test_a_passphrase_encrypts_the_key(kind: str, tmp_path: Path, mlcycle: Run) -> None:
    (tmp_path / "word").write_text("correct horse\nsecond line\n")
    (tmp_path / "wrong").write_text("correct house\n")
    (tmp_path / "empty").write_text("\n")
    name = tmp_path / "release"
    assert mlcycle("model", "keys", "new", name, "--type", kind, "--passphrase-file", tmp_path / "empty").code == 3
    assert mlcycle("model", "keys", "new", name, "--type", kind, "--passphrase-file", tmp_path / "word").code == 0
    assert "ENCRYPTED" in Path(f"{name}.key").read_text()
    private = keys.read_private(Path(f"{name}.key"), lambda: b"correct horse")
    assert private.public.fingerprint == keys.read_public(Path(f"{name}.pub")).fingerprint
    shown = mlcycle("model", "keys", "show", f"{name}.key", "--passphrase-file", tmp_path / "word")
    assert private.public.fingerprint in shown.out
    wrong = mlcycle("model", "keys", "show", f"{name}.key", "--passphrase-file", tmp_path / "wrong")
    assert (wrong.code, wrong.out) == (3, "")
    assert "wrong passphrase for the key" in wrong.err


def test_without_a_terminal_no_passphrase_is_requested(tmp_path: Path, process: Run) -> None:
    outcome = process("model", "keys", "new", tmp_path / "release", "--passphrase")
    assert outcome.code == 2
    assert "there is no terminal\nhint: pass --passphrase-file" in outcome.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("typed", [("open sesame", "open sesame"), ("open sesame", "open simsim")])
def test_a_passphrase_is_entered_twice_and_not_shown(typed: tuple[str, str], tmp_path: Path) -> None:
    code, shown = at_a_terminal(["model", "keys", "new", str(tmp_path / "release"), "--passphrase"], typed)
    assert "open s" not in shown
    if typed[0] != typed[1]:
        assert code == 2
        assert "the two passphrases differ" in shown
        assert not list(tmp_path.iterdir())
        return
    assert code == 0
    assert keys.read_private(tmp_path / "release.key", lambda: b"open sesame").public.kind == "p256"


def test_files_that_are_not_keys_have_different_errors(key: Path, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    messages = set()
    public = key.with_suffix(".pub")
    with pytest.raises(UsageError, match="is a public key, and signing needs") as problem:
        keys.read_private(public, no_passphrase)
    messages.add(problem.value.message)
    with pytest.raises(UsageError, match="is a private key, and verifying needs") as problem:
        keys.read_public(key)
    messages.add(problem.value.message)
    pem = (form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    strange = {
        "rsa.pub": rsa.generate_private_key(65537, 1024).public_key().public_bytes(*pem),
        "koblitz.pub": ec.generate_private_key(ec.SECP256K1()).public_key().public_bytes(*pem),
        "cut.pub": public.read_bytes()[:-40],
        "binary.pub": bytes(range(256)),
        "empty.pub": b"",
    }
    for name, data in strange.items():
        (tmp_path / name).write_bytes(data)
        expected = "is neither an elliptic-curve" if name in ("rsa.pub", "koblitz.pub") else "is not a PEM key"
        with pytest.raises(InputError, match=expected):
            keys.read_public(tmp_path / name)
    cut = tmp_path / "cut.key"
    cut.write_bytes(key.read_bytes()[:-60])
    cut.chmod(0o600)
    with pytest.raises(InputError, match="is not a PEM key"):
        keys.read_private(cut, no_passphrase)
    for place in (tmp_path / "none.pub", tmp_path):
        with pytest.raises(InputError, match="cannot be read") as problem:
            keys.read_public(place)
        messages.add(problem.value.message)
    assert len(messages) == 4


@pytest.mark.parametrize(("curve", "kind"), [("SECP384R1", "p384"), ("SECP521R1", "p521")])
def test_foreign_keys_of_larger_curves_verify_signatures(curve: str, kind: str, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec

    raw = ec.generate_private_key(getattr(ec, curve)())
    pem = raw.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "theirs.pub").write_bytes(pem)
    public = keys.read_public(tmp_path / "theirs.pub")
    digest = {"p384": hashes.SHA384, "p521": hashes.SHA512}[kind]
    assert public.kind == kind
    assert public.verifies(raw.sign(b"message", ec.ECDSA(digest())), b"message")


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(MlcycleError, match=f"no such folder: {tmp_path / 'none'}"):
        keys.write_pair(keys.generate("p256"), tmp_path / "none" / "release")


def at_a_terminal(arguments: list[str], typed: tuple[str, ...]) -> tuple[int, str]:
    """Runs a command in a pseudo-terminal, types a line for each prompt, and returns exit code and screen."""
    import pty
    import sys

    from conftest import environment

    child, screen = pty.fork()
    if child == 0:
        os.execve(sys.executable, [sys.executable, "-m", "mlcycle", *arguments], environment())
    shown = b""
    for line in typed:
        while not shown.endswith(b": "):
            shown += os.read(screen, 1)
        os.write(screen, line.encode() + b"\n")
        shown += os.read(screen, 1)
    try:
        while more := os.read(screen, 4096):
            shown += more
    except OSError:  # Linux raises it when the other end is closed
        pass
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shown.decode()
