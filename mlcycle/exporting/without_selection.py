"""Takes the selection of faces out of a graph, for runtimes that cannot run it: all boxes, scores and points come out.

What is left computes on one image of fixed size and has no dynamic shape. Constants are tensors.
"""

from __future__ import annotations

import onnx
from onnx import helper, parser

from mlcycle.errors import ModelFileError, UsageError
from mlcycle.exporting.fixed_shape import to_fixed_shape

MULTIPLE = 32
_CANNOT = "the model selects faces in an unsupported way"
# Names that no graph of `mlcycle freeze` has end in _of_cells.
_TAIL = """
tail (float[batch, cells, 4] {boxes}, float[batch, one, cells] {scores}) => (float[batch, cells, 4] boxes)
{{
    classes_of_cells = Constant<value = int64[1] {{1}}>()
    scores = Squeeze({scores}, classes_of_cells)
    boxes = Identity({boxes})
}}
"""
_LANDMARKS = """
tail (float[batch, ten, cells] {points}, float[three, cells] {places}) => (float[batch, cells, 5, 2] landmarks)
{{
    by_cell_of_cells = Transpose<perm = [0, 2, 1]>({points})
    shape_of_cells = Constant<value = int64[4] {{1, -1, 5, 2}}>()
    in_strides_of_cells = Reshape(by_cell_of_cells, shape_of_cells)
    rows_of_cells = Transpose<perm = [1, 0]>({places})
    around_of_cells = Constant<value = int64[2] {{0, 2}}>()
    places_of_cells = Unsqueeze(rows_of_cells, around_of_cells)
    two_and_one_of_cells = Constant<value = int64[2] {{2, 1}}>()
    middles_of_cells, strides_of_cells = Split<axis = 3>(places_of_cells, two_and_one_of_cells)
    offsets_of_cells = Mul(in_strides_of_cells, strides_of_cells)
    landmarks = Add(offsets_of_cells, middles_of_cells)
}}
"""


def without_selection(model: onnx.ModelProto, width: int, height: int) -> onnx.ModelProto:
    """Returns a copy of a model for one image of this size in pixels that returns the boxes of all N cells.

    Its outputs are boxes [1, N, 4] (x1 y1 x2 y2, input pixels, not clipped), scores [1, N] and, if the model has them,
    landmarks [1, N, 5, 2] (x y, input pixels), in no order.

    Raises:
        UsageError: a side is too short, too long, or not a multiple of 32 pixels.
        ModelFileError: the model selects faces in another way than `mlcycle freeze` writes, or cannot be fixed in size.
    """
    if width % MULTIPLE or height % MULTIPLE:
        raise UsageError(
            f"an input size of {width} x {height} pixels would need padding in the graph",
            f"choose multiples of {MULTIPLE}, for example --input-size 640x480",
        )
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    nodes = _tail(copy.graph)
    copy.graph.node.extend(nodes)
    del copy.graph.output[:]
    dimensions = {"boxes": (4,), "scores": (), "landmarks": (5, 2)}
    for name in (name for name in dimensions if any(name in node.output for node in nodes)):
        shape: list[str | int | None] = [1, "cells", *dimensions[name]]
        copy.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
    _keep_needed(copy.graph)
    fixed = to_fixed_shape(copy, width, height)
    _drop_empty_padding(fixed.graph)
    return _with_shapes(fixed)


def _tail(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Returns the nodes that make the outputs in place of the selection, whose own outputs it renames."""
    suppression, sort = _only(graph, "NonMaxSuppression"), _only(graph, "TopK")
    parts = [_TAIL.format(boxes=suppression.input[0], scores=suppression.input[1])]
    points = [node.input[0] for node in graph.node if node.op_type == "GatherElements"]
    if points:
        places = [node.input[0] for node in graph.node if node.op_type == "Gather" and node.input[1] == sort.output[1]]
        if len(points) != 1 or len(places) != 1:
            raise ModelFileError(_CANNOT, "freeze the model again")
        parts.append(_LANDMARKS.format(points=points[0], places=places[0]))
    for node in graph.node:
        node.output[:] = [
            f"{name}_selected" if name in ("boxes", "scores", "landmarks") else name for name in node.output
        ]
    return [node for part in parts for node in parser.parse_graph(part).node]


def _only(graph: onnx.GraphProto, operator: str) -> onnx.NodeProto:
    found = [node for node in graph.node if node.op_type == operator]
    if len(found) != 1:
        raise ModelFileError(_CANNOT, "freeze the model again")
    return found[0]


def _keep_needed(graph: onnx.GraphProto) -> None:
    """Removes the nodes and weights that no output needs."""
    needed, kept = {each.name for each in graph.output}, []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    weights = [each for each in graph.initializer if each.name in needed]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(kept[::-1])
    graph.initializer.extend(weights)


def _drop_empty_padding(graph: onnx.GraphProto) -> None:
    """Removes a Pad that adds nothing; some runtimes cannot pad bytes."""
    zeros = {each.name for each in graph.initializer if not onnx.numpy_helper.to_array(each).any()}
    for node in [node for node in graph.node if node.op_type == "Pad" and node.input[1] in zeros]:
        for other in graph.node:
            other.input[:] = [node.input[0] if name == node.output[0] else name for name in other.input]
        graph.node.remove(node)
    _keep_needed(graph)


def _with_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Writes the number of cells into the outputs' shapes."""
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    del inferred.graph.value_info[:]
    onnx.checker.check_model(inferred, full_check=True)
    return inferred
