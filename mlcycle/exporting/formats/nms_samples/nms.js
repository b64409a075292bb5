// Greedy non-maximum suppression, as the graph of a model file does it.

/**
 * Returns the rows of the faces, best first.
 *
 * @param {Float32Array} boxes x1 y1 x2 y2 of each row.
 * @param {Float32Array} scores
 */
export function nms(boxes, scores, scoreFloor, iouThreshold, maxFaces) {
  const box = (row) => boxes.subarray(4 * row, 4 * row + 4);
  const area = ([x1, y1, x2, y2]) => (x2 - x1) * (y2 - y1);
  const overlaps = (one, other) => {
    const side = (axis) => Math.max(0, Math.min(one[axis + 2], other[axis + 2]) - Math.max(one[axis], other[axis]));
    const shared = side(0) * side(1);
    return shared > iouThreshold * (area(one) + area(other) - shared);
  };
  const rest = [...scores.keys()].filter((row) => scores[row] > scoreFloor).sort((a, b) => scores[b] - scores[a]);
  const kept = [];
  for (const row of rest) {
    if (kept.length === maxFaces) break;
    if (!kept.some((better) => overlaps(box(better), box(row)))) kept.push(row);
  }
  return kept;
}
