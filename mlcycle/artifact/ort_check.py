"""What a file in the ORT format must hold to before onnxruntime sees it; see docs/export.md."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mlcycle.artifact.ort_tables import Table, graphs_of, read_tables
from mlcycle.errors import ModelFileError

# ONNX's own operators, and those that onnxruntime makes of them when it fuses some.
DOMAINS = (b"", b"ai.onnx", b"com.microsoft")


def check_ort(data: bytes, path: Path) -> None:
    """Walks a file in the ORT format, in Python alone.

    Raises:
        ModelFileError: its tables do not hold together, an operator is of another domain, weights lie in another file,
            or it asks to be optimised anew by rules that it brings.
    """
    try:
        problem = next(_problems(read_tables(data)), None)
    except ValueError as reason:
        problem = str(reason)
    if problem:
        raise ModelFileError(f"{path} is not in the ORT format as mlcycle writes it: {problem}", "export it again")


def _problems(tables: Table) -> Iterator[str]:
    for graph in graphs_of(tables):
        if graph.get("runtime_optimizations", {}).get("records") or graph.get("sparse_initializers"):
            yield "it has parts that mlcycle never writes"
        for node in graph.get("nodes", ()):
            if node.get("domain", b"") not in DOMAINS:
                yield f"an operator is of the domain {node['domain'].decode('utf-8', 'replace')!r}"
        for tensor in _tensors(graph):
            if tensor.get("external_data_offset", -1) != -1:
                yield "weights lie in another file"


def _tensors(graph: Table) -> Iterator[Table]:
    yield from graph.get("initializers", ())
    for attribute in (each for node in graph.get("nodes", ()) for each in node.get("attributes", ())):
        yield from attribute.get("tensors", ())
        if "t" in attribute:
            yield attribute["t"]
