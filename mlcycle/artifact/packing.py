"""Model + contract + self-test → the bytes of a sealed file. It takes an onnx.ModelProto without importing onnx."""

from __future__ import annotations

import json
from typing import Any

from mlcycle.artifact.contract import CONTRACT_KEY, SEAL_KEY, SECTIONS_KEY, Contract
from mlcycle.artifact.seal import BLANK, seal_bytes
from mlcycle.artifact.self_test import SELF_TEST_KEY, SelfTest
from mlcycle.artifact.structure import section_digests


def pack(model: Any, contract: Contract, self_test: SelfTest | None = None) -> bytes:
    """Writes contract, self-test, section digests and seal into an onnx.ModelProto; returns the file's bytes.

    The seal is the last metadata entry and metadata is the last field, so the seal ends the file. The same model,
    contract and self-test give the same bytes: no date, machine name or path is written.
    """
    model.producer_name, model.producer_version = "mlcycle", ""
    model.domain = model.doc_string = ""
    del model.metadata_props[:]
    model.metadata_props.add(key=CONTRACT_KEY, value=contract.to_json())
    if self_test is not None:
        model.metadata_props.add(key=SELF_TEST_KEY, value=self_test.to_json())
    sections = section_digests(model.SerializeToString(deterministic=True))
    model.metadata_props.add(key=SECTIONS_KEY, value=json.dumps(sections, sort_keys=True, separators=(",", ":")))
    model.metadata_props.add(key=SEAL_KEY, value=BLANK.decode())
    return seal_bytes(model.SerializeToString(deterministic=True))
