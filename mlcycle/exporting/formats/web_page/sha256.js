// The sha256 of bytes, as lower-case hex. Browsers offer crypto.subtle only to pages that came by HTTPS or from this
// machine; the seal of a model file must be checked on any page.

const [ROUNDS, START] = constants();

/** Returns the sha256 of a Uint8Array, as 64 hex digits. */
export async function sha256(bytes) {
  const digest = crypto.subtle ? new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)) : digestOf(bytes);
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Returns the 32 bytes of the digest without crypto.subtle: FIPS 180-4, section 6.2. */
export function digestOf(bytes) {
  const state = Uint32Array.from(START);
  const words = new Uint32Array(64);
  const whole = bytes.length - (bytes.length % 64);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0; at < whole; at += 64) mix(state, words, view, at);
  const end = new DataView(ending(bytes.subarray(whole), bytes.length).buffer);
  for (let at = 0; at < end.byteLength; at += 64) mix(state, words, end, at);
  const digest = new DataView(new ArrayBuffer(32));
  state.forEach((word, index) => digest.setUint32(index * 4, word));
  return new Uint8Array(digest.buffer);
}

// The remaining bytes, a one bit, zeros, and the length in bits: one or two blocks.
function ending(rest, length) {
  const padded = new Uint8Array(rest.length < 56 ? 64 : 128);
  padded.set(rest);
  padded[rest.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setUint32(padded.length - 8, Math.floor(length / 2 ** 29));
  view.setUint32(padded.length - 4, (length * 8) >>> 0);
  return padded;
}

function mix(state, words, view, at) {
  for (let i = 0; i < 16; i++) words[i] = view.getUint32(at + i * 4);
  for (let i = 16; i < 64; i++) {
    const [early, late] = [words[i - 15], words[i - 2]];
    const near = rotated(early, 7) ^ rotated(early, 18) ^ (early >>> 3);
    const far = rotated(late, 17) ^ rotated(late, 19) ^ (late >>> 10);
    words[i] = words[i - 16] + near + words[i - 7] + far;
  }
  let [a, b, c, d, e, f, g, h] = state;
  for (let i = 0; i < 64; i++) {
    const chosen = (e & f) ^ (~e & g);
    const first = (h + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) + chosen + ROUNDS[i] + words[i]) | 0;
    const second = ((rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    [h, g, f, e, d, c, b, a] = [g, f, e, (d + first) | 0, c, b, a, (first + second) | 0];
  }
  [a, b, c, d, e, f, g, h].forEach((value, index) => (state[index] += value));
}

function rotated(word, bits) {
  return (word >>> bits) | (word << (32 - bits));
}

// The first 32 fractional bits of the cube roots of the first 64 primes, and of the square roots of the first 8.
function constants() {
  const primes = [];
  for (let number = 2; primes.length < 64; number++) {
    if (primes.every((prime) => number % prime)) primes.push(number);
  }
  const fraction = (root) => Math.floor((root - Math.floor(root)) * 2 ** 32);
  const cubic = primes.map((prime) => fraction(Math.cbrt(prime)));
  const square = primes.slice(0, 8).map((prime) => fraction(Math.sqrt(prime)));
  return [cubic, square];
}
