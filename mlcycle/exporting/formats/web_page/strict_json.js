// Parses JSON from an untrusted file; anything that two parsers could read differently is refused, as by
// mlcycle/artifact/strict_json.py.

const MOST_DEPTH = 50;
const TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],:]|[^\s{}[\],:"]+/g;

/**
 * Parses a JSON text. Throws an Error if it is not JSON, repeats a key within an object, has a number that is not finite,
 * or is nested too deep.
 *
 * @param {string} text
 * @returns {{value: any, isWhole: (...path: (string | number)[]) => boolean}} `isWhole` tells whether the number at a path
 *   is written as an integer: 640, not 640.0, which JavaScript cannot tell apart.
 */
export function parse(text) {
  const value = JSON.parse(text);
  const numbers = new Map();
  const above = []; // the objects and lists around a token
  for (const [token] of text.matchAll(TOKEN)) {
    const here = above.at(-1);
    if (token === "}" || token === "]") above.pop();
    else if (token === ",") here.keys ? (here.key = null) : here.key++;
    else if (here?.keys && here.key === null) here.key = newKey(here.keys, JSON.parse(token));
    else if (token !== ":") {
      if (above.length >= MOST_DEPTH) throw new Error("nested too deep");
      if (token === "{") above.push({ keys: new Set(), key: null });
      else if (token === "[") above.push({ key: 0 });
      else if (/^[-\d]/.test(token)) numbers.set(pathOf(above.map(({ key }) => key)), finite(token));
    }
  }
  return { value, isWhole: (...path) => /^-?\d+$/.test(numbers.get(pathOf(path)) ?? "") };
}

function newKey(keys, key) {
  if (keys.has(key)) throw new Error("a repeated key");
  keys.add(key);
  return key;
}

function finite(token) {
  if (!Number.isFinite(Number(token))) throw new Error("a number that is not finite");
  return token;
}

function pathOf(keys) {
  return JSON.stringify(keys);
}
