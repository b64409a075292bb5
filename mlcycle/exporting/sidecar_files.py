"""Writes the metadata of a model as sidecar files, for formats without metadata."""

from __future__ import annotations

import json
from pathlib import Path

import onnx

from mlcycle.artifact.contract import Contract
from mlcycle.artifact.self_test import SELF_TEST_KEY

CONTRACT = "contract.json"
SELF_TEST = "self_test.json"


def contract_path(model: Path) -> Path:
    """Returns the path of a model file's contract, for programs that do not read ONNX: NAME.contract.json."""
    return model.with_name(f"{model.name}.{CONTRACT}")


def contract_text(contract: Contract) -> str:
    """Returns a contract as indented JSON."""
    return json.dumps(json.loads(contract.to_json()), indent=2, sort_keys=True) + "\n"


def write_sidecar_files(folder: Path, model: onnx.ModelProto, contract: Contract) -> None:
    """Writes contract.json, and self_test.json unchanged if the model has a self-test."""
    (folder / CONTRACT).write_text(contract_text(contract), encoding="ascii")
    for entry in model.metadata_props:
        if entry.key == SELF_TEST_KEY:
            (folder / SELF_TEST).write_bytes(entry.value.encode())
