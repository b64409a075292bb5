// Reads the contract of a model file. Its rules are those of mlcycle/artifact/contract.py and of docs/model-file.md.

import { Problem } from "./problem.js";
import { parse } from "./strict_json.js";

const [MOST_NUMBER, MOST_LETTERS] = [2 ** 20, 200];
const KNOWN = {
  format: 1,
  colour: "RGB",
  layout: "NHWC",
  dtype: "uint8",
  orientation: "upright",
  box_order: "x1 y1 x2 y2",
  "resize.filter": "antialiased-triangle",
  "padding.side": "right-bottom",
  "padding.value": 0,
};
const PARTS = {
  resize: ["long_side", "rule", "filter"],
  padding: ["value", "side"],
  selection: ["score_floor", "iou_threshold", "max_faces", "method"],
};
const SIZE = ["width", "height", "batch"];
// Letters, digits, signs and the space; no control characters, halves of surrogate pairs or other spaces.
const PRINTABLE = /^(?: |[^\p{C}\p{Z}])*$/u;

/**
 * Returns the contract.
 *
 * @param {string | undefined} text the entry mlcycle.contract of the model file.
 */
export function readContract(text) {
  let parsed;
  try {
    parsed = parse(text);
  } catch {
    throw damaged("the model file has no readable contract");
  }
  const { value: contract, isWhole } = parsed;
  for (const [path, value] of Object.entries(KNOWN)) {
    const found = path.split(".").reduce((object, name) => object?.[name], contract);
    if (found !== value) throw unknown(`the model file has ${path} ${String(JSON.stringify(found)).slice(0, 40)}`);
  }
  if (!hasTypes(contract, isWhole)) throw damaged("the model file's contract has values of the wrong type");
  const { resize, input_size: fixed = null, reduced_jpeg: reduced = null, thresholds } = contract;
  if (resize.rule !== (fixed ? "fit-inside" : "fit-long-side")) {
    throw unknown(`the model file has resize.rule ${JSON.stringify(resize.rule)}`);
  }
  if (fixed && fixed.batch !== 1) throw unknown("the model file has a batch size");
  if (reduced !== null && reduced < 1) throw damaged("the model file allows JPEGs smaller than its input");
  if (!("balanced" in thresholds)) throw damaged("the model file has no threshold named balanced");
  if (!Object.values(thresholds).every((each) => each > 0 && each <= 1)) {
    throw damaged("the model file has a threshold that is not a score");
  }
  return contract;
}

// Tells whether all values have the right types, so that no later code has to check them.
function hasTypes(contract, isWhole) {
  const { selection, thresholds, labels, landmarks, input_size: fixed = null } = contract;
  const { parent = null, reduced_jpeg: reduced = null, precision = "float32" } = contract;
  const parts = Object.entries({ ...PARTS, ...(fixed !== null && { input_size: SIZE }) });
  if (!parts.every(([name, keys]) => isObject(contract[name]) && Object.keys(contract[name]).every((key) => keys.includes(key)))) {
    return false;
  }
  if (!isObject(thresholds) || !Array.isArray(labels) || !Array.isArray(landmarks)) return false;
  const names = [contract.name, precision, ...Object.keys(thresholds), ...labels, ...landmarks];
  const numbers = [selection.score_floor, selection.iou_threshold, ...Object.values(thresholds)];
  const whole = [["resize", "long_side"], ["selection", "max_faces"], ...(fixed ? SIZE.map((key) => ["input_size", key]) : [])];
  return (
    [...names, parent ?? "", selection.method ?? ""].every(isName) &&
    [...numbers, reduced ?? 0].every((each) => typeof each === "number" && Math.abs(each) <= MOST_NUMBER) &&
    whole.every(([part, key]) => isWhole(part, key) && contract[part][key] > 0 && contract[part][key] <= MOST_NUMBER)
  );
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isName(text) {
  return typeof text === "string" && PRINTABLE.test(text) && [...text].length <= MOST_LETTERS;
}

function damaged(sentence) {
  return new Problem("model", sentence, "export the page again, and copy all its files to the server");
}

function unknown(what) {
  const hint = "export the page again with a newer mlcycle";
  return new Problem("model", `${what}, which this page does not support`, hint);
}
