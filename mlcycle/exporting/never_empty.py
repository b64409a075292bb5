"""Makes a graph of an earlier mlcycle return at least one row, as graphs do that `mlcycle freeze` writes now.

If an image has no face, OpenVINO 2026.4 does not update empty outputs: it returns the faces of the previous image. So
the graph always selects one more row: the first cell of the first image, with score 0, which is not a detection. Rows
beyond the faces of an image have score 0 anyway.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from mlcycle.errors import ModelFileError


def never_empty(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a copy of a model that returns at least one row.

    A graph from `mlcycle freeze` scatters the scores of selected cells (ScatterND), and sorts the best to the front
    (TopK). A model without NonMaxSuppression, or with at least one row already, is returned unchanged.

    Raises:
        ModelFileError: the model selects faces in another way.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    names = [node.op_type for node in copy.graph.node]
    if "NonMaxSuppression" not in names or _has_spare_row(copy.graph):
        return copy
    if any(names.count(name) != 1 for name in ("NonMaxSuppression", "ScatterND", "TopK")):
        raise ModelFileError("the model selects faces in an unsupported way", "freeze the model again")
    scatter, sort = (copy.graph.node[names.index(name)] for name in ("ScatterND", "TopK"))
    before_scatter, before_sort = _add_cell(scatter), _add_row(sort)
    nodes = [
        each
        for node in copy.graph.node
        for each in (*(before_scatter if node is scatter else before_sort if node is sort else ()), node)
    ]
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    copy.graph.initializer.extend(
        numpy_helper.from_array(array, name)
        for name, array in (
            ("spare_cell", np.zeros((1, 2), np.int64)),
            ("spare_score", np.zeros(1, np.float32)),
            ("least_rows", np.ones(1, np.int64)),
        )
    )
    onnx.checker.check_model(copy, full_check=True)
    return copy


def _has_spare_row(graph: onnx.GraphProto) -> bool:
    """Returns whether TopK's number of rows is a maximum, which `mlcycle freeze` takes with 1."""
    counts = {node.input[1] for node in graph.node if node.op_type == "TopK"}
    return any(node.op_type == "Max" and counts.intersection(node.output) for node in graph.node)


def _add_cell(scatter: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Adds the first cell. If it is among the selected ones, the greater score counts."""
    _, cells, scores = scatter.input
    scatter.input[1:] = ["cells_and_spare", "scores_and_spare"]
    del scatter.attribute[:]  # "none", or no attribute
    scatter.attribute.append(helper.make_attribute("reduction", "max"))
    return [
        helper.make_node("Concat", [cells, "spare_cell"], ["cells_and_spare"], axis=0),
        helper.make_node("Concat", [scores, "spare_score"], ["scores_and_spare"], axis=0),
    ]


def _add_row(sort: onnx.NodeProto) -> list[onnx.NodeProto]:
    rows = sort.input[1]
    sort.input[1] = "rows_or_one"
    return [helper.make_node("Max", [rows, "least_rows"], ["rows_or_one"])]
