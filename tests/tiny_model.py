"""A model file that needs no training: it "finds" what is painted pure green or pure blue, to the pixel.

Each of the two colours is one face at most: the box around all its pixels, scored by the share of the box that they
fill. Images hold no such pixels, so a test can paint a patch on a real one and knows the expected output.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import onnx.parser

from mlcycle.artifact.contract import CONTRACT_KEY, LANDMARKS, SEAL_KEY, Contract, Resize, Selection
from mlcycle.artifact.seal import BLANK, seal_bytes, write_sealed

GREEN = (0, 255, 0)
BLUE = (0, 0, 255)

CONTRACT = Contract(
    name="tiny",
    resize=Resize(long_side=640),
    selection=Selection(score_floor=0.05, iou_threshold=0.45, max_faces=2),
    thresholds={"balanced": 0.5},
    landmarks=LANDMARKS,
    training={"recipe": "none: written by hand"},
)

_GRAPH = """
<ir_version: 8, opset_import: ["" : 18]>
tiny (uint8[batch, height, width, 3] images)
  => (float[batch, faces, 4] boxes, float[batch, faces] scores LANDMARKS_OUTPUT)
<float floor = {0.05}, float clear = {128.0}, int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2},
 int64[1] least_pixels = {9},
 float[5, 2] spots = {0.3, 0.4, 0.7, 0.4, 0.5, 0.6, 0.35, 0.8, 0.65, 0.8}>
{
  pixels = Cast<to: int = 1>(images)
  red, green, blue = Split<axis: int = 3, num_outputs: int = 3>(pixels)
  red_or_blue = Max(red, blue)
  red_or_green = Max(red, green)
  greener = Sub(green, red_or_blue)
  bluer = Sub(blue, red_or_green)
  excess = Concat<axis: int = 3>(greener, bluer)
  is_painted = Greater(excess, clear)
  painted = Cast<to: int = 1>(is_painted)

  axes_rows_columns = Concat<axis: int = 0>(one, two)
  count = ReduceSum<keepdims: int = 0>(painted, axes_rows_columns)
  columns = ReduceMax<keepdims: int = 0>(painted, one)
  rows = ReduceMax<keepdims: int = 0>(painted, two)
  x1 = ArgMax<axis: int = 1, keepdims: int = 0>(columns)
  y1 = ArgMax<axis: int = 1, keepdims: int = 0>(rows)
  x2_last = ArgMax<axis: int = 1, keepdims: int = 0, select_last_index: int = 1>(columns)
  y2_last = ArgMax<axis: int = 1, keepdims: int = 0, select_last_index: int = 1>(rows)
  x2 = Add(x2_last, one)
  y2 = Add(y2_last, one)
  x1_ = Unsqueeze(x1, two)
  y1_ = Unsqueeze(y1, two)
  x2_ = Unsqueeze(x2, two)
  y2_ = Unsqueeze(y2, two)
  corners = Concat<axis: int = 2>(x1_, y1_, x2_, y2_)
  boxes_unsorted = Cast<to: int = 1>(corners)

  width = Sub(x2, x1)
  height = Sub(y2, y1)
  area = Mul(width, height)
  area_float = Cast<to: int = 1>(area)
  share = Div(count, area_float)
  many = Cast<to: int = 7>(count)
  enough = GreaterOrEqual(many, least_pixels)
  over = GreaterOrEqual(share, floor)
  is_face = And(enough, over)
  nothing = Sub(share, share)
  scores_unsorted = Where(is_face, share, nothing)

  scores_two, order = TopK<axis: int = 1>(scores_unsorted, two)
  order_ = Unsqueeze(order, two)
  order_four = Concat<axis: int = 2>(order_, order_, order_, order_)
  boxes_two = GatherElements<axis: int = 1>(boxes_unsorted, order_four)

  face_number = Cast<to: int = 7>(is_face)
  faces_each = ReduceSum<keepdims: int = 0>(face_number, one)
  faces_most = ReduceMax<keepdims: int = 1>(faces_each, zero)
  boxes = Slice(boxes_two, zero, faces_most, one)
  scores = Slice(scores_two, zero, faces_most, one)
  LANDMARKS_NODES
}
"""

_LANDMARKS_NODES = """
  four = Add(two, two)
  corner = Slice(boxes, zero, two, two)
  far_corner = Slice(boxes, two, four, two)
  size = Sub(far_corner, corner)
  size_ = Unsqueeze(size, two)
  corner_ = Unsqueeze(corner, two)
  inside = Mul(size_, spots)
  landmarks = Add(corner_, inside)
"""


def unsealed_model(contract: Contract = CONTRACT, contract_json: str | None = None) -> onnx.ModelProto:
    """Returns the model with its contract and a blank seal last; `contract_json` stands in for the contract's text."""
    text = _GRAPH.replace(
        "LANDMARKS_OUTPUT", ", float[batch, faces, 5, 2] landmarks" if contract.landmarks else ""
    ).replace("LANDMARKS_NODES", _LANDMARKS_NODES if contract.landmarks else "")
    model = onnx.parser.parse_model(text)
    onnx.checker.check_model(model, full_check=True)
    add_metadata(model, contract_json or contract.to_json())
    return model


def add_metadata(model: onnx.ModelProto, contract_json: str) -> None:
    """Writes the contract and, last, the blank seal."""
    del model.metadata_props[:]
    model.metadata_props.add(key=CONTRACT_KEY, value=contract_json)
    model.metadata_props.add(key=SEAL_KEY, value=BLANK.decode())


def tiny_bytes(contract: Contract = CONTRACT, contract_json: str | None = None) -> bytes:
    """Returns the sealed file's bytes."""
    return seal_bytes(unsealed_model(contract, contract_json).SerializeToString(deterministic=True))


def write_tiny_model(
    path: Path, *, long_side: int = 640, landmarks: bool = True, reduced_jpeg: float | None = None
) -> Path:
    """Writes the sealed tiny model, with its digest next to it, and returns its path."""
    names = LANDMARKS if landmarks else ()
    contract = replace(CONTRACT, resize=Resize(long_side), landmarks=names, reduced_jpeg=reduced_jpeg)
    write_sealed(tiny_bytes(contract), path)
    return path
