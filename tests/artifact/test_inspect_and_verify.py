"""`mlcycle model inspect` and `mlcycle model verify`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Outcome
from tiny_model import tiny_bytes, write_tiny_model

Run = Callable[..., Outcome]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "tiny.onnx")


def test_inspect_prints_the_contract(mlcycle: Run, model: Path) -> None:
    shown = mlcycle("model", "inspect", model)
    assert shown.code == 0
    assert f"balanced{' ' * 15}0.5" in shown.out
    facts = json.loads(mlcycle("model", "inspect", model, "--json").out)
    assert facts["sha256"] == Path(f"{model}.sha256").read_text().split()[0]
    assert facts["bytes"] == model.stat().st_size
    assert facts["contract"]["resize"]["long_side"] == 640


def test_verify_checks_seal_digest_and_contract(mlcycle: Run, model: Path) -> None:
    digest = Path(f"{model}.sha256").read_text().split()[0]
    outcome = mlcycle("model", "verify", model, "--sha256", digest.upper())
    assert outcome.code == 0
    assert outcome.out.startswith(f"verified {digest}")
    assert "seal, tiny.onnx.sha256, --sha256, operators and contract" in outcome.err


def test_a_failed_verification_names_the_check(mlcycle: Run, model: Path, tmp_path: Path) -> None:
    other = mlcycle("model", "verify", model, "--sha256", "0" * 64)
    assert (other.code, other.out) == (4, "")
    assert "not the required one" in other.err
    assert mlcycle("model", "verify", model, "--sha256", "12ab").code == 2
    data = bytearray(model.read_bytes())
    data[100] ^= 1
    (tmp_path / "damaged.onnx").write_bytes(data)
    for command in ("verify", "inspect"):
        damaged = mlcycle("model", command, tmp_path / "damaged.onnx")
        assert (damaged.code, damaged.out) == (4, "")
        assert "damaged.onnx is damaged: " in damaged.err


def test_a_file_of_a_later_format_exits_4(mlcycle: Run, tmp_path: Path) -> None:
    (tmp_path / "later.onnx").write_bytes(tiny_bytes(contract_json='{"format": 2}'))
    for arguments in (("model", "verify"), ("model", "inspect"), ("infer", "photo.jpg", "--model")):
        outcome = mlcycle(*arguments, tmp_path / "later.onnx")
        assert outcome.code == 4
        assert "install a newer mlcycle" in outcome.err
