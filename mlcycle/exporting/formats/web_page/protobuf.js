// Protocol buffers' wire format, as far as it takes to look into a model file: a message is a row of fields, each a
// number and a value; what the numbers mean is for the caller to know.

import { Problem } from "./problem.js";

const [VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES] = [0, 1, 2, 5];

/** Yields [number, value] of each field: a number, or the bytes of what has a length or a width. */
export function* fields(bytes) {
  const at = { place: 0 };
  while (at.place < bytes.length) {
    const tag = varint(bytes, at);
    const value = valueOf(tag % 8, bytes, at);
    if (at.place > bytes.length || tag < 8) throw broken();
    yield [Math.floor(tag / 8), value];
  }
}

/** Returns a message's fields by their numbers; of a number that comes several times, the last. */
export function message(bytes) {
  return new Map(fields(bytes));
}

function valueOf(kind, bytes, at) {
  if (kind === VARINT) return varint(bytes, at);
  const lengths = { [EIGHT_BYTES]: () => 8, [FOUR_BYTES]: () => 4, [LENGTH]: () => varint(bytes, at) };
  if (!lengths[kind]) throw broken();
  const length = lengths[kind]();
  return bytes.subarray(at.place, (at.place += length));
}

function varint(bytes, at) {
  let value = 0;
  for (let shift = 0; shift < 70 && at.place < bytes.length; shift += 7) {
    const byte = bytes[at.place++];
    value += (byte & 127) * 2 ** shift;
    if (byte < 128) return value;
  }
  throw broken();
}

function broken() {
  const hint = "export the page again, and copy all its files to the server";
  return new Problem("model", "the model file is no ONNX model", hint);
}
