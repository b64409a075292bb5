"""Network → ONNX graph, from decoded pixels to final boxes.

The graph has three parts: a prelude that converts and pads uint8 pixels, the network as torch exports it, and the
decoding and selection of boxes. The first and last part are written here in ONNX's text form, so that they can be read.
The names in them are part of the bytes of every model file: changing one changes its digest.
"""

from __future__ import annotations

import copy
import io
import warnings
from contextlib import redirect_stdout

import onnx
import torch
from onnx import compose, helper, parser
from torch import Tensor, nn

from mlcycle.artifact.contract import Contract
from mlcycle.artifact.packing import pack
from mlcycle.artifact.self_test import SelfTest
from mlcycle.training.model.network import LARGEST_LOGARITHM, POINTS, FaceNetwork

OPSET = 18
IR_VERSION = 10

# Any height and width: the image is padded with black, at the right and at the bottom, to multiples of 32. Its rows are
# then used as they lie in memory, R G B R G B ...: one channel that is three times as wide (see `_over_rows`).
PRELUDE = """
prelude (uint8[batch, height, width, 3] images)
    => (float[batch, 1, padded_height, row_length] rows, int64[2] padded_size, int64[2] size)
{
    thirty_two = Constant<value = int64[1] {32}>()
    channel_axis = Constant<value = int64[1] {1}>()
    size = Shape<start = 1, end = 3>(images)
    negative = Neg(size)
    missing = Mod(negative, thirty_two)
    padded_size = Add(size, missing)
    before_and_batch = Constant<value = int64[5] {0, 0, 0, 0, 0}>()
    channels = Constant<value = int64[1] {0}>()
    pads = Concat<axis = 0>(before_and_batch, missing, channels)
    padded = Pad(images, pads)
    as_float = Cast<to = 1>(padded)
    row_by_row = Constant<value = int64[3] {0, 0, -1}>()
    one_channel = Reshape(as_float, row_by_row)
    rows = Unsqueeze(one_channel, channel_axis)
}
"""

# FaceNetwork.decode for the cells of all grids at once.
DECODING = """
    one = Constant<value = int64[1] {{1}}>()
    two = Constant<value = int64[1] {{2}}>()
    padded_float = Cast<to = 1>(padded_size)
    height_1, width_1 = Split<axis = 0, num_outputs = 2>(padded_float)
    height = Squeeze(height_1)
    width = Squeeze(width_1)
    one_row = Constant<value = int64[3] {{0, 0, -1}}>()
    three_rows = Constant<value = int64[2] {{3, -1}}>()
{grids}
    raw = Concat<axis = 2>({raw_of_grids})
    places = Concat<axis = 1>({places_of_grids})
    parts = Constant<value = int64[{parts_count}] {{{parts}}}>()
    {parts_out} = Split<axis = 1>(raw, parts)
    scores_by_class = Sigmoid(logits)
    x_y = Constant<value = int64[2] {{0, 1}}>()
    places_x_y = Gather<axis = 0>(places, x_y)
    two_strides = Constant<value = int64[2] {{2, 2}}>()
    strides = Gather<axis = 0>(places, two_strides)
    shifts = Mul(shifts_in_strides, strides)
    middles = Add(shifts, places_x_y)
    largest = Constant<value = float {{{largest}}}>()
    bounded = Min(logarithms, largest)
    sides_in_strides = Exp(bounded)
    half = Constant<value = float {{0.5}}>()
    half_strides = Mul(strides, half)
    half_sides = Mul(sides_in_strides, half_strides)
    left_top = Sub(middles, half_sides)
    right_bottom = Add(middles, half_sides)
    corners = Concat<axis = 1>(left_top, right_bottom)
    all_boxes = Transpose<perm = [0, 2, 1]>(corners)
"""

# The cells' centres: half a stride, one and a half strides ... up to the last cell that starts inside the image.
DECODING_OF_GRID = """
    raw_S = Reshape(answer_S, one_row)
    half_S = Constant<value = float {{{half}}}>()
    stride_S = Constant<value = float {{{stride}}}>()
    cells_S = Shape<start = 2>(answer_S)
    map_S = Concat<axis = 0>(one, cells_S)
    beyond_width_S = Add(width, half_S)
    beyond_height_S = Add(height, half_S)
    columns_S = Range(half_S, beyond_width_S, stride_S)
    lines_S = Range(half_S, beyond_height_S, stride_S)
    lines_down_S = Unsqueeze(lines_S, one)
    x_S = Expand(columns_S, map_S)
    y_S = Expand(lines_down_S, map_S)
    strides_S = Expand(stride_S, map_S)
    maps_S = Concat<axis = 0>(x_S, y_S, strides_S)
    places_S = Reshape(maps_S, three_rows)
"""

# NonMaxSuppression returns the indices of the cells it keeps, in an order that ONNX does not specify. So their scores
# are scattered into zeros, and TopK sorts those of each image; images with fewer faces are padded with score 0.
# Without any face there is one row of score 0, because runtimes have failed on empty outputs: OpenVINO 2026.4 leaves
# the faces of the previous image in them, and onnxruntime-openvino 1.24 crashes. So one spare cell with score 0, behind
# the last of the first image, is always among the scattered ones. (A ScatterND that reduces is not read by OpenVINO.)
SELECTION = """
    zero_float = Constant<value = float {{0.0}}>()
    most = Constant<value = int64[1] {{{max_faces}}}>()
    iou_threshold = Constant<value = float[1] {{{iou_threshold}}}>()
    score_floor = Constant<value = float[1] {{{score_floor}}}>()
    chosen = NonMaxSuppression(all_boxes, scores_by_class, most, iou_threshold, score_floor)
    image_and_cell = Constant<value = int64[2] {{0, 2}}>()
    found = Gather<axis = 1>(chosen, image_and_cell)
    all_scores = Squeeze(scores_by_class, one)
    shape = Shape(all_scores)
    only_columns = Constant<value = int64[1,2] {{0, 1}}>()
    spare = Mul(shape, only_columns)
    where = Concat<axis = 0>(found, spare)
    one_cell_behind = Constant<value = int64[4] {{0, 0, 0, 1}}>()
    scores_and_spare = Pad(all_scores, one_cell_behind)
    chosen_scores = GatherND(scores_and_spare, where)
    shape_with_spare = Shape(scores_and_spare)
    none = ConstantOfShape(shape_with_spare)
    kept_and_spare = ScatterND(none, where, chosen_scores)
    first = Constant<value = int64[1] {{0}}>()
    cells = Shape<start = 1>(all_scores)
    kept_scores = Slice(kept_and_spare, first, cells, one)
    is_kept = Sign(kept_scores)
    faces_each = ReduceSum<keepdims = 0>(is_kept, one)
    faces_most_float = ReduceMax<keepdims = 1>(faces_each)
    faces_most = Cast<to = 7>(faces_most_float)
    at_least_one = Max(faces_most, one)
    scores, order = TopK<axis = 1, largest = 1, sorted = 1>(kept_scores, at_least_one)
    order_of_rows = Unsqueeze(order, two)
    loose_boxes = GatherND<batch_dims = 1>(all_boxes, order_of_rows)
    width_first = Constant<value = int64[4] {{1, 0, 1, 0}}>()
    limits = Gather<axis = 0>(size, width_first)
    limits_float = Cast<to = 1>(limits)
    not_before = Max(loose_boxes, zero_float)
    boxes = Min(not_before, limits_float)
"""

# Landmarks are decoded only for the selected cells: raw strides away from the cell's centre.
LANDMARKS = """
    order_of_columns = Unsqueeze(order, one)
    ten = Constant<value = int64[3] {1, 10, 1}>()
    index_points = Tile(order_of_columns, ten)
    chosen_points = GatherElements<axis = 2>(points, index_points)
    points_of_faces = Transpose<perm = [0, 2, 1]>(chosen_points)
    five_points = Constant<value = int64[4] {0, 0, 5, 2}>()
    in_strides = Reshape(points_of_faces, five_points)
    chosen_places = Gather<axis = 1>(places, order)
    places_of_faces = Transpose<perm = [1, 2, 0]>(chosen_places)
    places_by_point = Unsqueeze(places_of_faces, two)
    two_and_one = Constant<value = int64[2] {2, 1}>()
    middles_of_faces, strides_of_faces = Split<axis = 3>(places_by_point, two_and_one)
    offsets = Mul(in_strides, strides_of_faces)
    landmarks = Add(offsets, middles_of_faces)
"""


class _Raw(nn.Module):
    """The fused network up to the head's raw maps, with rows of pixels as its input."""

    def __init__(self, network: FaceNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, rows_B1HW: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.network.raw_maps(rows_B1HW))


def build_model(network: FaceNetwork, contract: Contract, self_test: SelfTest | None = None) -> bytes:
    """Builds the bytes of a sealed model file; the same network, contract and self-test give the same bytes.

    Args:
        network: trained; not changed, because a copy is fused and exported.
    """
    fused = copy.deepcopy(network).cpu().float().eval()
    fused.fuse()
    fused.stem.convolution = _over_rows(fused.stem.convolution)
    maps = [f"answer_{stride}" for stride in network.strides]
    whole = _joined(_part(PRELUDE), _export(_Raw(fused), maps), ["rows"])
    whole = _joined(whole, _part(postlude_text(contract, network.strides)), [*maps, "padded_size", "size"])
    onnx.checker.check_model(whole, full_check=True)
    return pack(whole, contract, self_test)


def postlude_text(contract: Contract, strides: tuple[int, ...]) -> str:
    """Returns the decoding and selection, in ONNX's text form, for these grids and this contract's rule and outputs."""
    rule = contract.selection
    parts = [1, 2, 2, 2 * POINTS] if contract.landmarks else [1, 2, 2]
    maps = ", ".join(f"float[batch, answers, rows_{s}, columns_{s}] answer_{s}" for s in strides)
    decoding = DECODING.format(
        grids="".join(_grid_text(stride) for stride in strides),
        raw_of_grids=", ".join(f"raw_{stride}" for stride in strides),
        places_of_grids=", ".join(f"places_{stride}" for stride in strides),
        largest=_number(LARGEST_LOGARITHM),
        parts=", ".join(map(str, parts)),
        parts_count=len(parts),
        parts_out="logits, shifts_in_strides, logarithms" + (", points" if contract.landmarks else ""),
    )
    selection = SELECTION.format(
        max_faces=rule.max_faces, iou_threshold=_number(rule.iou_threshold), score_floor=_number(rule.score_floor)
    )
    outputs = "float[batch, faces, 4] boxes, float[batch, faces] scores"
    if contract.landmarks:
        selection += LANDMARKS
        outputs += ", float[batch, faces, 5, 2] landmarks"
    return f"postlude ({maps}, int64[2] padded_size, int64[2] size) => ({outputs}) {{{decoding}{selection}}}"


def _grid_text(stride: int) -> str:
    return DECODING_OF_GRID.format(half=_number(stride / 2), stride=_number(stride)).replace("_S", f"_{stride}")


def _over_rows(convolution: nn.Conv2d) -> nn.Conv2d:
    """Turns a convolution over three channels into one over rows R G B R G B ..., one channel three times as wide.

    So pixels need not be transposed to planes first, which would take half as long as the convolution.
    """
    assert isinstance(convolution.padding, tuple)
    assert convolution.bias is not None
    outputs, channels, height, width = convolution.weight.shape
    (stride_y, stride_x), (padding_y, padding_x) = convolution.stride, convolution.padding
    kernel, stride, padding = (
        (height, channels * width),
        (stride_y, channels * stride_x),
        (int(padding_y), channels * int(padding_x)),
    )
    rows = nn.Conv2d(1, outputs, kernel, stride, padding)
    weights_OYXC = convolution.weight.detach().permute(0, 2, 3, 1)
    rows.weight = nn.Parameter(weights_OYXC.reshape(outputs, 1, height, channels * width))
    rows.bias = convolution.bias
    return rows


def _export(module: _Raw, outputs: list[str]) -> onnx.ModelProto:
    """Exports for any batch and any multiples of 32, and removes everything that names this machine or process."""
    batch, rows, columns = (torch.export.Dim(name, min=1, max=4096) for name in ("batch", "rows", "columns"))
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            (torch.zeros(2, 1, 96, 3 * 128),),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=["rows"],
            output_names=outputs,
            dynamic_shapes=({0: batch, 2: 32 * rows, 3: 96 * columns},),
        )
    assert program is not None
    model = program.model_proto
    model.ir_version = IR_VERSION
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del model.graph.value_info[:]
    del model.graph.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
    model.graph.doc_string = model.doc_string = ""
    return model


def _part(text: str) -> onnx.ModelProto:
    graph = parser.parse_graph(text)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def _joined(first: onnx.ModelProto, second: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """Connects outputs of the first graph to inputs of the second that have the same names."""
    whole = compose.merge_models(first, second, io_map=[(name, name) for name in names], name="face-detector")
    del whole.opset_import[1:]  # both parts import the same opset
    return whole


def _number(value: float) -> str:
    return repr(float(value))
