// Checks the seal of a model file and reads its contract and metadata, as docs/model-file.md requires of a reader.

import { admit } from "./admission.js";
import { Problem } from "./problem.js";
import { fields, message } from "./protobuf.js";
import { sha256 } from "./sha256.js";

const SEAL_LENGTH = 64;
// Field number of metadata_props in ModelProto; each entry has a key (1) and a value (2).
const METADATA = 14;
const KNOWN = {
  format: 1,
  colour: "RGB",
  layout: "NHWC",
  dtype: "uint8",
  orientation: "upright",
  box_order: "x1 y1 x2 y2",
  "resize.filter": "antialiased-triangle",
};

/**
 * Checks a model file and reads its contract and metadata.
 *
 * @param {Uint8Array} bytes the whole file.
 * @param {string} digestFile the text of the .sha256 file, or "" if there is none.
 * @returns {Promise<{sha256: string, contract: object, metadata: Map<string, string>}>}
 */
export async function readModel(bytes, digestFile) {
  const digest = await sha256(bytes);
  if (digestFile && digestFile.trim().split(/\s+/)[0].toLowerCase() !== digest) {
    throw damaged("the model file is not the one that its .sha256 names");
  }
  const seal = new TextDecoder("latin1").decode(bytes.subarray(-SEAL_LENGTH));
  if (bytes.length <= SEAL_LENGTH || !/^[0-9a-f]{64}$/.test(seal)) throw damaged("the model file is cut short");
  if ((await sha256(bytes.subarray(0, -SEAL_LENGTH))) !== seal) {
    throw damaged("the model file is damaged: its bytes do not match its seal");
  }
  admit(bytes);
  const metadata = metadataOf(bytes);
  return { sha256: digest, contract: contractOf(metadata), metadata };
}

/** Returns the entries of metadata_props of a serialised ONNX model. */
export function metadataOf(bytes) {
  const text = new TextDecoder("utf-8");
  const entries = new Map();
  for (const [number, entry] of fields(bytes)) {
    if (number !== METADATA) continue;
    const parts = message(entry);
    entries.set(text.decode(parts.get(1)), text.decode(parts.get(2)));
  }
  return entries;
}

function contractOf(metadata) {
  let contract;
  try {
    contract = JSON.parse(metadata.get("mlcycle.contract"));
  } catch {
    throw damaged("the model file has no readable contract");
  }
  for (const [path, value] of Object.entries(KNOWN)) {
    const found = path.split(".").reduce((object, name) => object?.[name], contract);
    if (found !== value) throw unknown(`the model file has ${path} ${JSON.stringify(found)}`);
  }
  const { resize, input_size: fixed } = contract;
  if (resize.rule !== (fixed ? "fit-inside" : "fit-long-side")) {
    throw unknown(`the model file has resize.rule ${resize.rule}`);
  }
  if (fixed ? !(fixed.width >= 1 && fixed.height >= 1 && fixed.batch === 1) : !(resize.long_side >= 1)) {
    throw unknown("the model file has an input size");
  }
  const balanced = contract.thresholds?.balanced;
  if (!(balanced > 0 && balanced <= 1)) throw unknown("the model file has no threshold named balanced");
  return contract;
}

function damaged(sentence) {
  return new Problem("model", sentence, "export the page again, and copy all its files to the server");
}

function unknown(what) {
  const hint = "export the page again with a newer mlcycle";
  return new Problem("model", `${what}, which this page does not support`, hint);
}
