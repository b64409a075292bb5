"""What a file in the ORT format may be made of; the rest is refused before the runtime sees it, as with ONNX."""

from __future__ import annotations

from collections.abc import Iterator

from mlcycle.artifact.admission import HINT, MOST_METADATA, OPERATORS
from mlcycle.artifact.ort_tables import Table, read_tables
from mlcycle.artifact.seal import SealedBytes
from mlcycle.errors import ModelFileError

# What onnxruntime makes of several operators, or of one between bytes: its own domain, com.microsoft.
FUSED = frozenset({
    "BiasGelu", "DequantizeLinear", "FastGelu", "FusedConv", "FusedGemm", "FusedMatMul", "Gelu", "MatMulIntegerToFloat",
    "NhwcFusedConv", "NhwcMaxPool", "QGemm", "QLinearAdd", "QLinearAveragePool", "QLinearConcat", "QLinearConv",
    "QLinearGlobalAveragePool", "QLinearLeakyRelu", "QLinearMul", "QLinearReduceMean", "QLinearSigmoid",
    "QLinearSoftmax", "QLinearWhere", "QuantizeLinear", "QuickGelu",
})  # fmt: skip
ALLOWED = {b"": OPERATORS, b"ai.onnx": OPERATORS, b"com.microsoft": FUSED}


def check_ort(sealed: SealedBytes) -> None:
    """Walks a file in the ORT format, in Python alone.

    Raises:
        ModelFileError: its tables do not hold together, or hold what a model file must not have.
    """
    try:
        problem = next(_problems(read_tables(sealed.data)), None)
    except ValueError as reason:
        raise ModelFileError(f"{sealed.path} is no file in the ORT format: {reason}", HINT) from None
    if problem:
        raise ModelFileError(f"{sealed.path} has {problem}, which a model file must not have", HINT)


def _problems(tables: Table) -> Iterator[str]:
    model = tables.get("model", {})
    graph = model.get("graph", {})
    if not graph.get("nodes"):
        yield "no graph"
    if graph.get("sparse_initializers"):
        yield "sparse weights"
    if graph.get("runtime_optimizations", {}).get("records"):
        yield "rules of its own for optimising it"
    if sum(len(text) for entry in model.get("metadata_props", ()) for text in entry.values()) > MOST_METADATA:
        yield f"too much metadata (at most {MOST_METADATA:,} bytes are allowed)"
    keys = [entry.get("key", b"") for entry in model.get("metadata_props", ())]
    if len(set(keys)) < len(keys):
        yield "two metadata entries of one name"
    for node in graph.get("nodes", ()):
        domain, name = node.get("domain", b""), node.get("op_type", b"")
        if name.decode("ascii", "replace") not in ALLOWED.get(domain, ()):
            yield f"the operator {repr(name[:40])[2:-1]} of the domain {repr(domain[:40])[1:]}"
        if any("g" in each or each.get("graphs") for each in node.get("attributes", ())):
            yield "a graph inside the graph"
    if any(each.get("external_data_offset", -1) != -1 for each in _tensors(graph)):
        yield "weights in another file (external data)"


def _tensors(graph: Table) -> Iterator[Table]:
    yield from graph.get("initializers", ())
    for attribute in (each for node in graph.get("nodes", ()) for each in node.get("attributes", ())):
        yield from attribute.get("tensors", ())
        if "t" in attribute:
            yield attribute["t"]
