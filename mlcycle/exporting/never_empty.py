"""A graph in which no tensor is ever empty, for runtimes that stumble over one.

OpenVINO 2026.4 leaves the outputs as they were where an image has no face at all: it answers with the faces of the
image before. So one row more is given to what was selected: the first cell of the first image, with score 0, which
counts for nothing. There is always one row then; rows beyond an image's own faces have score 0 anyway.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from mlcycle.errors import ModelFileError


def never_empty(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a copy of a model that gives one row at least.

    What `mlcycle freeze` writes puts the scores of selected cells where they were (ScatterND), and sorts the best of
    them to the front (TopK). A model that has no NonMaxSuppression stays as it is.

    Raises:
        ModelFileError: what is selected goes another way, and where it could be empty is not known.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    names = [node.op_type for node in copy.graph.node]
    if "NonMaxSuppression" not in names:
        return copy
    if any(names.count(name) != 1 for name in ("NonMaxSuppression", "ScatterND", "TopK")):
        raise ModelFileError("the model selects faces in a way that mlcycle does not know", "freeze the model again")
    scatter, sort = (copy.graph.node[names.index(name)] for name in ("ScatterND", "TopK"))
    before_scatter, before_sort = _one_cell_more(scatter), _one_row_at_least(sort)
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


def _one_cell_more(scatter: onnx.NodeProto) -> list[onnx.NodeProto]:
    """The first cell may be among the selected ones: of both scores the greater is kept."""
    _, cells, scores = scatter.input
    scatter.input[1:] = ["cells_and_spare", "scores_and_spare"]
    del scatter.attribute[:]  # whether it says "none" or nothing
    scatter.attribute.append(helper.make_attribute("reduction", "max"))
    return [
        helper.make_node("Concat", [cells, "spare_cell"], ["cells_and_spare"], axis=0),
        helper.make_node("Concat", [scores, "spare_score"], ["scores_and_spare"], axis=0),
    ]


def _one_row_at_least(sort: onnx.NodeProto) -> list[onnx.NodeProto]:
    rows = sort.input[1]
    sort.input[1] = "rows_or_one"
    return [helper.make_node("Max", [rows, "least_rows"], ["rows_or_one"])]
