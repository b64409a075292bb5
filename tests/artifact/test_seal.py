"""The seal: any changed byte is detected, and a model file is written once."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tiny_model import tiny_bytes, write_tiny_model

from mlcycle.artifact.seal import MAX_BYTES, digest_path, read_sealed, seal_bytes, write_sealed
from mlcycle.errors import InputError, ModelFileError


@pytest.fixture(scope="module")
def sealed() -> bytes:
    return tiny_bytes()


def test_any_flipped_bit_is_detected(sealed: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    length = len(sealed)
    for offset in {0, 1, 7, *range(64, length, length // 40), length - 65, length - 64, length - 1}:
        flipped = bytearray(sealed)
        flipped[offset] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(ModelFileError):
            read_sealed(path)


def test_a_truncated_or_extended_file_is_detected(sealed: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    for data in (b"", sealed[:64], sealed[-64:], sealed[:-1], sealed[: len(sealed) // 2], sealed + b"\n", b"x" * 500):
        path.write_bytes(data)
        with pytest.raises(ModelFileError):
            read_sealed(path)


def test_the_digest_file_must_agree(sealed: bytes, tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "model.onnx")
    digest = read_sealed(path).sha256
    digest_file = digest_path(path)
    subprocess.run(["sha256sum", "-c", digest_file.name], cwd=tmp_path, check=True, capture_output=True)
    digest_file.chmod(0o644)
    for text in ("0" * 64 + "  model.onnx\n", "", "\xff"):
        digest_file.write_text(text, "latin-1")
        with pytest.raises(ModelFileError, match="is not the one in"):
            read_sealed(path)
    digest_file.write_text(f"{digest.upper()} *model.onnx\n")
    assert read_sealed(path).sha256 == digest


def test_a_missing_file_and_a_folder_are_reported(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no such model file"):
        read_sealed(tmp_path / "nothing.onnx")
    with pytest.raises(ModelFileError, match="cannot be read"):
        read_sealed(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_and_devices_are_not_read(sealed: bytes, tmp_path: Path) -> None:
    path, digest_file = tmp_path / "model.onnx", tmp_path / "model.onnx.sha256"
    endless = (os.mkfifo, lambda place: place.symlink_to("/dev/zero"))
    for make in endless:
        make(path)
        with pytest.raises(ModelFileError, match="it is a pipe or a device"):
            read_sealed(path)
        path.unlink()
    path.write_bytes(sealed)
    for make in endless:
        make(digest_file)
        with pytest.raises(ModelFileError, match="is not the one in"):
            read_sealed(path)
        digest_file.unlink()
    assert read_sealed(path).data == sealed


def test_a_file_that_is_too_large_is_not_read(sealed: bytes, tmp_path: Path) -> None:
    with (tmp_path / "model.onnx").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ModelFileError, match="too large") as caught:
        read_sealed(tmp_path / "model.onnx")
    assert caught.value.hint


def test_only_a_blank_seal_can_be_filled(sealed: bytes) -> None:
    with pytest.raises(ValueError, match="blank seal"):
        seal_bytes(sealed)


def test_a_model_file_is_read_only_and_never_overwritten(sealed: bytes, tmp_path: Path) -> None:
    path = tmp_path / "new" / "model.onnx"
    digest = write_sealed(sealed, path)
    assert write_sealed(sealed, path) == digest
    assert path.stat().st_mode & 0o222 == 0
    with pytest.raises(InputError, match="exists with other contents"):
        write_sealed(sealed + b"x", path)
    assert path.read_bytes() == sealed
    assert sorted(each.name for each in path.parent.iterdir()) == ["model.onnx", "model.onnx.sha256"]
