// Reads the wire format of protocol buffers, as far as a model file needs it: a message is a sequence of fields, each
// with a number and a value. The caller knows what the numbers mean.

import { Problem } from "./problem.js";

const [VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES] = [0, 1, 2, 5];

/** Yields [number, value] of each field. The value is a number, or the bytes of a field with a length or a width. */
export function* fields(bytes) {
  const at = { place: 0 };
  while (at.place < bytes.length) {
    const tag = varint(bytes, at);
    const value = valueOf(tag % 8, bytes, at);
    if (at.place > bytes.length || tag < 8) throw broken();
    yield [Math.floor(tag / 8), value];
  }
}

/** Returns the fields of a message by number. If a number occurs several times, the last field counts. */
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
  return new Problem("model", "the model file is not an ONNX model", hint);
}
