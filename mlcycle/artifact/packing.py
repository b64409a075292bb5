"""Model + contract → the bytes of a sealed file. It takes an onnx.ModelProto, and needs no onnx to do so."""

from __future__ import annotations

from typing import Any

from mlcycle.artifact.contract import CONTRACT_KEY, SEAL_KEY, Contract
from mlcycle.artifact.seal import BLANK, seal_bytes


def pack(model: Any, contract: Contract) -> bytes:
    """Writes contract and seal into an onnx.ModelProto and returns the file's bytes.

    The seal is the last metadata entry, metadata is the last field that is used, and so the seal is the file's end. The
    same model and contract give the same bytes: nothing that names a day, a machine or a path is written.
    """
    model.producer_name, model.producer_version = "mlcycle", ""
    model.domain = model.doc_string = ""
    del model.metadata_props[:]
    model.metadata_props.add(key=CONTRACT_KEY, value=contract.to_json())
    model.metadata_props.add(key=SEAL_KEY, value=BLANK.decode())
    return seal_bytes(model.SerializeToString(deterministic=True))
