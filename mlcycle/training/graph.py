"""Network → ONNX graph: pixels as a decoder gives them in, final boxes out.

Three parts: a prelude that takes uint8 pixels and pads them, the network as torch exports it, and the selection. The
prelude and the selection are written here in ONNX's own text form, so that what the file does can be read.
"""

from __future__ import annotations

import copy
import io
import warnings
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

import onnx
import torch
from onnx import compose, helper, parser
from torch import Tensor, nn

from mlcycle.artifact.contract import INPUT, Contract
from mlcycle.artifact.packing import pack

if TYPE_CHECKING:
    from mlcycle.training.network import FaceNetwork

OPSET = 18
IR_VERSION = 10

# Any height and width: the picture is padded with black, at the right and at the bottom, to multiples of 32.
PRELUDE = """
prelude (uint8[batch, height, width, 3] images) => (float[batch, 3, padded_height, padded_width] pixels)
{
    thirty_two = Constant<value_ints = [32]>()
    zero = Constant<value_ints = [0]>()
    from_height = Constant<value_ints = [1]>()
    to_channels = Constant<value_ints = [3]>()
    shape = Shape(images)
    size = Slice(shape, from_height, to_channels)
    negative = Neg(size)
    missing = Mod(negative, thirty_two)
    before_and_batch = Constant<value_ints = [0, 0, 0, 0, 0]>()
    pads = Concat<axis = 0>(before_and_batch, missing, zero)
    black = Constant<value_float = 0.0>()
    as_float = Cast<to = 1>(images)
    padded = Pad(as_float, pads, black)
    pixels = Transpose<perm = [0, 3, 1, 2]>(padded)
}
"""

# NonMaxSuppression names the cells it keeps, in no order that ONNX promises. So their scores are put where they were
# among zeros, and TopK sorts each picture's own; pictures with fewer faces than the fullest are filled up with score 0.
SELECTION = """
selection (float[batch, cells, 4] all_boxes, float[batch, cells] all_scores{landmarks_in}, int64[4] images_shape)
    => (float[batch, faces, 4] boxes, float[batch, faces] scores{landmarks_out})
{{
    one = Constant<value_ints = [1]>()
    two = Constant<value_ints = [2]>()
    three = Constant<value_ints = [3]>()
    zero_float = Constant<value_float = 0.0>()
    most = Constant<value_ints = [{max_faces}]>()
    iou_threshold = Constant<value_floats = [{iou_threshold}]>()
    score_floor = Constant<value_floats = [{score_floor}]>()
    scores_by_class = Unsqueeze(all_scores, one)
    chosen = NonMaxSuppression(all_boxes, scores_by_class, most, iou_threshold, score_floor)
    picture_and_cell = Constant<value_ints = [0, 2]>()
    where = Gather<axis = 1>(chosen, picture_and_cell)
    chosen_scores = GatherND(all_scores, where)
    none = Mul(all_scores, zero_float)
    kept_scores = ScatterND(none, where, chosen_scores)
    is_kept = Greater(kept_scores, zero_float)
    counted = Cast<to = 7>(is_kept)
    faces_each = ReduceSum<keepdims = 0>(counted, one)
    faces_most = ReduceMax<keepdims = 1>(faces_each)
    scores, order = TopK<axis = 1, largest = 1, sorted = 1>(kept_scores, faces_most)
    order_for_boxes = Unsqueeze(order, two)
    four = Constant<value_ints = [1, 1, 4]>()
    index_boxes = Tile(order_for_boxes, four)
    loose_boxes = GatherElements<axis = 1>(all_boxes, index_boxes)
    height_and_width = Slice(images_shape, one, three)
    width_first = Constant<value_ints = [1, 0, 1, 0]>()
    limits = Gather<axis = 0>(height_and_width, width_first)
    limits_float = Cast<to = 1>(limits)
    not_before = Max(loose_boxes, zero_float)
    boxes = Min(not_before, limits_float)
{landmarks_body}}}
"""

LANDMARKS_BODY = """    ten = Constant<value_ints = [1, 1, 10]>()
    index_landmarks = Tile(order_for_boxes, ten)
    flat_landmarks = GatherElements<axis = 1>(all_landmarks, index_landmarks)
    points = Constant<value_ints = [0, 0, 5, 2]>()
    landmarks = Reshape(flat_landmarks, points)
"""


class _Frozen(nn.Module):
    """The fused network with what follows it up to boxes of every cell; landmarks_BA10 flat."""

    def __init__(self, network: FaceNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels_B3HW: Tensor) -> tuple[Tensor, ...]:
        logits, boxes, landmarks = self.network.decode(self.network.answers(pixels_B3HW))
        found = (boxes, logits.sigmoid())
        return (*found, landmarks.flatten(2)) if self.network.landmarks else found


def build_model(network: FaceNetwork, contract: Contract) -> bytes:
    """Makes the bytes of a sealed model file; the same network and contract give the same bytes.

    Args:
        network: trained; it is left as it is, a copy is fused and exported.
    """
    fused = copy.deepcopy(network).cpu().float().eval()
    fused.fuse()
    body = _export(_Frozen(fused))
    whole = compose.merge_models(_part(PRELUDE), body, io_map=[("pixels", "pixels_in")], name="face-detector")
    whole = _with_shape_of_images(whole)
    io_map = [("all_boxes_out", "all_boxes"), ("all_scores_out", "all_scores"), ("images_shape", "images_shape")]
    if contract.landmarks:
        io_map.append(("all_landmarks_out", "all_landmarks"))
    whole = compose.merge_models(whole, _part(selection_text(contract)), io_map=io_map, name="face-detector")
    whole.graph.name = "face-detector"
    onnx.checker.check_model(whole, full_check=True)
    return pack(whole, contract)


def selection_text(contract: Contract) -> str:
    """Returns the selection in ONNX's text form, for this contract's rule."""
    rule = contract.selection
    return SELECTION.format(
        max_faces=rule.max_faces,
        iou_threshold=_number(rule.iou_threshold),
        score_floor=_number(rule.score_floor),
        landmarks_in=", float[batch, cells, 10] all_landmarks" if contract.landmarks else "",
        landmarks_out=", float[batch, faces, 5, 2] landmarks" if contract.landmarks else "",
        landmarks_body=LANDMARKS_BODY if contract.landmarks else "",
    )


def _export(module: _Frozen) -> onnx.ModelProto:
    """Exports for any batch and any multiples of 32, and takes out what names this machine or this process."""
    batch, rows, columns = (torch.export.Dim(name, min=1, max=4096) for name in ("batch", "rows", "columns"))
    names = ["all_boxes_out", "all_scores_out", "all_landmarks_out"][: 3 if module.network.landmarks else 2]
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            (torch.zeros(2, 3, 96, 128),),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=["pixels_in"],
            output_names=names,
            dynamic_shapes=({0: batch, 2: 32 * rows, 3: 32 * columns},),
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


def _with_shape_of_images(model: onnx.ModelProto) -> onnx.ModelProto:
    model.graph.node.append(helper.make_node("Shape", [INPUT], ["images_shape"]))
    model.graph.output.append(helper.make_tensor_value_info("images_shape", onnx.TensorProto.INT64, [4]))
    return model


def _number(value: float) -> str:
    return repr(float(value))
