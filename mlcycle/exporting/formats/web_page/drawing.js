// Draws faces much as `mlcycle infer --annotate` does: boxes, scores and landmarks scale with the image, and are
// smaller on small faces.

const [BOX, INK, POINT] = ["rgb(0 214 143)", "rgb(6 32 22)", "rgb(255 196 0)"];
// The radius of a landmark's dot is this part of its face.
const POINTS_ACROSS = 36;

/**
 * Draws faces onto a canvas whose units are pixels of the image.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {object[]} faces best first.
 * @param {{width: number, height: number}} size of the image.
 */
export function drawFaces(context, faces, size) {
  // The best face is drawn last: its label is above those of its neighbours.
  const backwards = faces.toReversed();
  backwards.forEach((face) => drawBox(context, face, size));
  backwards.forEach((face) => drawLabel(context, face, size));
}

function drawBox(context, { box, landmarks = {} }, size) {
  const [x1, y1, x2, y2] = box;
  const shorter = Math.min(x2 - x1, y2 - y1);
  const line = Math.max(1, Math.min(Math.max(size.width, size.height) / 256, Math.max(1, shorter / 12)));
  context.strokeStyle = BOX;
  context.lineWidth = line;
  context.beginPath();
  context.roundRect(x1 + line / 2, y1 + line / 2, Math.max(0, x2 - x1 - line), Math.max(0, y2 - y1 - line), 2 * line);
  context.stroke();
  context.fillStyle = POINT;
  const radius = Math.max(1, 0.75 * line, shorter / POINTS_ACROSS);
  for (const [x, y] of Object.values(landmarks)) {
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fill();
  }
}

function drawLabel(context, { box, score }, size) {
  const [x1, y1, x2] = box;
  const letters = Math.max(9, Math.min(Math.max(size.width, size.height) / 45, (x2 - x1) / 2.6));
  context.font = `${letters}px system-ui, sans-serif`;
  const text = score.toFixed(2);
  const [width, height] = [context.measureText(text).width + letters / 2, letters * 1.25];
  if (width > x2 - x1) return; // a label wider than the box would cover neighbouring faces
  const x = Math.min(Math.max(0, x1), Math.max(0, size.width - width));
  const y = y1 >= height ? y1 - height : Math.min(y1, size.height - height);
  context.fillStyle = BOX;
  context.beginPath();
  context.roundRect(x, y, width, height, letters / 4);
  context.fill();
  context.fillStyle = INK;
  context.textBaseline = "middle";
  context.fillText(text, x + letters / 4, y + height * 0.53);
}
