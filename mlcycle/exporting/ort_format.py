"""The ORT format: a model already optimised, which onnxruntime's small builds for phones read without ONNX's parser.

Operators are fused here, once ("extended"), and the file says how; what comes after that ("all") lays weights out for
the vector instructions of the processor that writes the file, and would not run on another kind. Such a file is larger
than its parent, opens in less time, and is read by the onnxruntime that wrote it and later ones.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import onnx
import onnxruntime

from mlcycle.artifact.contract import CONTRACT_KEY, Contract
from mlcycle.artifact.ort_tables import graphs_of, read_tables
from mlcycle.artifact.seal import BLANK, SealedBytes, seal_bytes
from mlcycle.artifact.self_test import SELF_TEST_KEY
from mlcycle.errors import ModelFileError
from mlcycle.exporting.ort_writer import write_tables

# As the name under which `--include_ops_by_config` of onnxruntime's build is told of it.
OPERATORS = "required_operators.config"


def to_ort(sealed: SealedBytes, contract: Contract) -> bytes:
    """Returns the bytes of a sealed file in the ORT format; the same ones each time for one version of onnxruntime.

    The contract inside is the given one with the given file as its parent; a self-test stays as it is. The seal is the
    last 64 bytes, as in an ONNX file; it stands behind the tables, where onnxruntime does not look.

    Raises:
        ModelFileError: onnxruntime cannot load the model, or cannot write it.
    """
    model = onnx.load_model_from_string(sealed.data)
    kept = {entry.key: entry.value for entry in model.metadata_props if entry.key == SELF_TEST_KEY}
    kept[CONTRACT_KEY] = replace(contract, parent=sealed.sha256).to_json()
    onnx.helper.set_model_props(model, kept)
    try:
        tables = read_tables(_converted(model.SerializeToString()))
    except Exception as problem:  # onnxruntime has a dozen classes
        raise ModelFileError(
            f"onnxruntime {onnxruntime.__version__} cannot write {sealed.path} in the ORT format:"
            f" {' '.join(str(problem).split())[:300]}",
            "install another version of onnxruntime",
        ) from None
    # For people, and not the same for each version.
    tables["model"]["graph_doc_string"] = b""
    return seal_bytes(write_tables(tables) + BLANK)


def required_operators(data: bytes) -> str:
    """Returns the operators that a file in the ORT format needs, in the form that onnxruntime's build reads.

    Raises:
        ValueError: it is no such file.
    """
    needed: dict[tuple[str, int], set[str]] = defaultdict(set)
    for graph in graphs_of(read_tables(data)):
        for node in graph["nodes"]:
            domain = node.get("domain", b"").decode() or "ai.onnx"
            needed[domain, node.get("since_version", 0)].add(node["op_type"].decode())
    return "".join(f"{domain};{since};{','.join(sorted(names))}\n" for (domain, since), names in sorted(needed.items()))


def _converted(model: bytes) -> bytes:
    with tempfile.TemporaryDirectory(prefix="mlcycle-export-") as folder:
        path = Path(folder) / "model.ort"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(path)
        options.add_session_config_entry("session.save_model_format", "ORT")
        # Else left to the processor that writes the file. mlcycle's values are uint8, whose way is the same everywhere.
        options.add_session_config_entry("session.qdqisint8allowed", "0")
        onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return path.read_bytes()
