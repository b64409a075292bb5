// Reads the wire format of protocol buffers, as far as a model file needs it: a message is a sequence of fields, each
// with a number and a value. The caller knows what the numbers mean. Whatever a parser could read differently is refused.

import { Problem } from "./problem.js";

const [VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES] = [0, 1, 2, 5];
// Parsers silently truncate larger numbers of fields, and would then read another field.
const MOST_TAG = 2 ** 32 - 1;
const TEXT = { fatal: true, ignoreBOM: true };

/** A field of a message: its number, and its value, of which a parser accepts one type only. */
class Field {
  #kind;
  #value;

  constructor(number, kind, value) {
    this.number = number;
    this.#kind = kind;
    this.#value = value;
  }

  /** The value as a number. */
  get whole() {
    if (this.#kind !== VARINT) throw broken();
    return this.#value;
  }

  /** The bytes of a message or text. */
  get bytes() {
    if (this.#kind !== LENGTH) throw broken();
    return this.#value;
  }

  get text() {
    try {
      return new TextDecoder("utf-8", TEXT).decode(this.bytes);
    } catch {
      throw broken();
    }
  }

  /** The numbers of a field that holds one, or several in a row. */
  get wholes() {
    if (this.#kind === VARINT) return [this.#value];
    const [bytes, at, values] = [this.bytes, { place: 0 }, []];
    while (at.place < bytes.length) values.push(varint(bytes, at));
    return values;
  }

  /** Whether the field says anything else than zero. */
  get isSet() {
    return this.#kind !== VARINT || this.#value !== 0;
  }
}

/** Yields each field of a message. */
export function* fields(bytes) {
  const at = { place: 0 };
  while (at.place < bytes.length) {
    const tag = varint(bytes, at);
    const kind = tag % 8;
    const value = valueOf(kind, bytes, at);
    if (at.place > bytes.length || tag < 8 || tag > MOST_TAG) throw broken();
    yield new Field(Math.floor(tag / 8), kind, value);
  }
}

/** The error for bytes that are not a message. */
export function broken() {
  const hint = "export the page again, and copy all its files to the server";
  return new Problem("model", "the model file is not an ONNX model", hint);
}

function valueOf(kind, bytes, at) {
  if (kind === VARINT) return varint(bytes, at);
  const lengths = { [EIGHT_BYTES]: () => 8, [FOUR_BYTES]: () => 4, [LENGTH]: () => varint(bytes, at) };
  if (!lengths[kind]) throw broken();
  const length = lengths[kind]();
  return bytes.subarray(at.place, (at.place += length));
}

// A number of at most 64 bits; beyond 53 its last digits are lost, which no caller needs.
function varint(bytes, at) {
  let value = 0;
  for (let shift = 0; shift < 70 && at.place < bytes.length; shift += 7) {
    const byte = bytes[at.place++];
    if (shift === 63 && byte > 1) break;
    value += (byte & 127) * 2 ** shift;
    if (byte < 128) return value;
  }
  throw broken();
}
