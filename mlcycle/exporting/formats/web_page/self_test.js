// The self-test of a model file: a test image that is drawn by an integer formula, and the expected output for it.
// Image and distance are identical to those of mlcycle/artifact/self_test.py.

import { Problem } from "./problem.js";
import { parse } from "./strict_json.js";

const FORMULA = "drawn-faces-1";
const CELL = 48;
const [MOST_SIDE, MOST_ROWS] = [1024, 1000];
// A row matches an expected face if their IoU is at least this.
const LEAST_OVERLAP = 0.5;

/**
 * Reads a self-test: boxes, scores, landmarks, tolerance, and the height, width and seed of the test image.
 *
 * @param {string} text the entry mlcycle.self_test of the model file.
 */
export function readSelfTest(text) {
  let test;
  try {
    const { value, isWhole } = parse(text);
    test = value;
    if (!isSelfTest(test, isWhole)) throw new TypeError();
  } catch {
    const hint = "export the page again with a newer mlcycle";
    throw new Problem("model", "the self-test of the model file cannot be read", hint);
  }
  return test;
}

function isSelfTest(test, isWhole) {
  const { boxes, scores, landmarks, tolerance, loose_tolerance: loose } = test;
  const points = landmarks.length ? landmarks[0].length : 0;
  return (
    test.formula === FORMULA &&
    scores.length <= MOST_ROWS &&
    isList(scores, scores.length, isNumber) &&
    isList(boxes, scores.length, (box) => isList(box, 4, isNumber)) &&
    isList(landmarks, landmarks.length && scores.length, (face) =>
      isList(face, points, (point) => isList(point, 2, isNumber)),
    ) &&
    [tolerance.pixels, tolerance.score, loose.pixels, loose.score].every(isNumber) &&
    ["height", "width", "seed"].every((name) => isWhole(name) && Number.isSafeInteger(test[name])) &&
    [test.height, test.width].every((side) => side > 0 && side <= MOST_SIDE)
  );
}

function isList(values, length, isItem) {
  return Array.isArray(values) && values.length === length && values.every(isItem);
}

function isNumber(value) {
  return typeof value === "number";
}

/** Draws the test image: RGB bytes, row by row. */
export function drawnFaces({ height, width, seed }) {
  const canvas = { height, width, rgb: new Uint8ClampedArray(height * width * 3) };
  drawGround(canvas, seed);
  const [rows, columns] = [Math.floor(height / CELL), Math.floor(width / CELL)];
  const hasLarge = rows >= 2 && columns >= 2;
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      if (hasLarge && row < 2 && column < 2) continue;
      const face = hash(column, row, seed + 2);
      const middle = [column * CELL + 20 + ((face >>> 4) & 7), row * CELL + 20 + ((face >>> 7) & 7)];
      drawFace(canvas, middle, 10 + Math.floor((face & 15) / 2), (face >>> 10) & 63);
    }
  }
  if (hasLarge) drawFace(canvas, [CELL, CELL], 36, (hash(0, 0, seed + 2) >>> 10) & 63);
  return new Uint8Array(canvas.rgb.buffer);
}

/**
 * Returns the largest difference between an output and the expected one: {pixels, score}.
 *
 * @param {{score: number, box: number[], points: number[][]}[]} rows the output, in pixels of the test image.
 */
export function distance(test, rows) {
  const difference = { pixels: 0, score: 0 };
  const matched = new Set();
  test.boxes.forEach((box, number) => {
    const overlaps = rows.map((row) => overlap(box, row.box));
    const place = overlaps.indexOf(Math.max(...overlaps));
    if (!(overlaps[place] >= LEAST_OVERLAP)) {
      Object.assign(difference, { pixels: Infinity, score: most(difference.score, test.scores[number]) });
      return;
    }
    matched.add(place);
    difference.score = most(difference.score, Math.abs(test.scores[number] - rows[place].score));
    difference.pixels = most(difference.pixels, farthest(box, rows[place].box));
    if (test.landmarks.length && rows[place].points.length) {
      difference.pixels = most(difference.pixels, farthest(test.landmarks[number].flat(), rows[place].points.flat()));
    }
  });
  const last = test.scores.length ? Math.min(...test.scores) : 0;
  rows.forEach(({ score }, place) => {
    if (!matched.has(place) && score > last) difference.score = most(difference.score, score - last);
  });
  return difference;
}

function drawGround({ height, width, rgb }, seed) {
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const block = hash(x >> 4, y >> 4, seed);
      const grain = (hash(x, y, seed + 1) >>> 8) & 31;
      for (let channel = 0; channel < 3; channel++) rgb[at++] = 40 + ((block >>> (8 * channel)) & 127) + grain;
    }
  }
}

// Hair, a head that darkens towards its rim and to the right, brows, eyes, nose and mouth: ellipses, with centres and
// half-axes in sixteenths of the radius.
function drawFace({ height, width, rgb }, [x, y], radius, tone) {
  const reach = Math.floor((radius * 5) / 4);
  const soft = Math.floor(tone / 2);
  for (let row = Math.max(0, y - reach); row <= Math.min(height - 1, y + reach); row++) {
    for (let column = Math.max(0, x - reach); column <= Math.min(width - 1, x + reach); column++) {
      const [across, down] = [column - x, row - y];
      const inside = (left, top, a, b) => {
        const [u, v] = [16 * across - left * radius, 16 * down - top * radius];
        return u * u * b * b + v * v * a * a <= (a * b * radius) ** 2;
      };
      const paint = (colour) => rgb.set(colour, (row * width + column) * 3);
      if (inside(0, -3, 14, 16)) paint([60, 45, 35]);
      if (inside(0, 2, 12, 14)) paint(skin(across, down, radius, tone));
      for (const side of [-5, 5]) {
        if (inside(side, -4, 3, 1)) paint([70, 50, 40]);
        if (inside(side, -1, 2, 2)) paint([30, 25, 25]);
      }
      if (inside(0, 4, 2, 1)) paint([150 - soft, 100 - soft, 90 - soft]);
      if (inside(0, 9, 5, 1)) paint([150, 60, 60]);
    }
  }
}

function skin(across, down, radius, tone) {
  const rim = Math.floor(((16 * across * across + 9 * down * down) * 40) / (9 * radius * radius));
  const shade = tone + rim + Math.floor((across * 16) / radius);
  return [225 - shade, 180 - shade, 150 - shade];
}

// A pseudorandom 32-bit number.
function hash(x, y, seed) {
  let mixed = (Math.imul(x, 374761393) + Math.imul(y, 668265263) + Math.imul(seed, 2246822519)) >>> 0;
  mixed = Math.imul(mixed ^ (mixed >>> 13), 1274126177) >>> 0;
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

function overlap(one, other) {
  const shared = [0, 1].reduce(
    (area, axis) => area * Math.max(0, Math.min(one[axis + 2], other[axis + 2]) - Math.max(one[axis], other[axis])),
    1,
  );
  const area = ([x1, y1, x2, y2]) => (x2 - x1) * (y2 - y1);
  return shared / Math.max(area(one) + area(other) - shared, 1e-9);
}

function farthest(one, other) {
  return one.reduce((far, value, index) => most(far, Math.abs(value - other[index])), 0);
}

// The larger of two numbers; NaN counts as infinite.
function most(one, other) {
  if (one >= other) return one;
  return Number.isNaN(other) ? Infinity : other;
}
