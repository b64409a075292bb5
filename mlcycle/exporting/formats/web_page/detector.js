// The model in the browser: loaded and checked once, then run on one image after another.

import { readModel } from "./model_file.js";
import { Problem } from "./problem.js";
import { inputSize, resize } from "./resize.js";
import { distance, drawnFaces, readSelfTest } from "./self_test.js";

const MODEL = "model.onnx";
const RUNTIME = "onnxruntime-web/ort.wasm.bundle.min.js";
const WASM = "onnxruntime-web/ort-wasm-simd-threaded.wasm";
// A thread is a worker, whose policy only the server can set, in a header. Without this one there is one thread.
const WORKER_POLICY = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'";
const MOST_THREADS = 4;

/**
 * Fetches the model and the runtime from the page's own server, checks the model and loads it.
 *
 * @param {(done: number, total: number) => void} progress receives the number of bytes received and in total.
 * @returns {Promise<Detector>}
 */
export async function load(progress) {
  const count = counter(progress);
  const [bytes, digestFile, wasm, ort] = await Promise.all([
    fetched(MODEL, count),
    fetched(`${MODEL}.sha256`, count, true),
    fetched(WASM, count),
    runtime(),
  ]);
  const model = await readModel(bytes, digestFile ? new TextDecoder().decode(digestFile) : "");
  return new Detector(ort, await session(ort, wasm, bytes, await threads()), model);
}

/**
 * A loaded model. `contract`, `metadata` and `sha256` come from its file; `runtime` is a name and a version, and `threads` the
 * number that it computes on.
 */
export class Detector {
  #ort;
  #session;

  constructor(ort, session, { contract, metadata, sha256 }) {
    const runtime = `onnxruntime-web ${ort.env.versions.web}`;
    Object.assign(this, { contract, metadata, sha256, runtime, threads: ort.env.wasm.numThreads });
    this.#ort = ort;
    this.#session = session;
    const outputs = ["boxes", "scores", ...(contract.landmarks.length ? ["landmarks"] : [])];
    if (`${session.outputNames}` !== `${outputs}` || `${session.inputNames}` !== "images") {
      throw new Problem("model", "the graph of the model file does not match its contract", "freeze the model again");
    }
  }

  /**
   * Detects faces in an image from `decode`.
   *
   * Returns `faces`, all detections of the graph, best first: {box: [x1, y1, x2, y2], score, landmarks: {name: [x, y]}}
   * in pixels of the image; and the `milliseconds` of each stage.
   */
  async detect(image) {
    const start = performance.now();
    const size = inputSize(image, this.contract);
    const rgb = resize(image, size);
    const resized = performance.now();
    const rows = await this.rows(rgb, size);
    const ran = performance.now();
    const faces = rows.map((row) => this.#toImage(row, size, image));
    return { faces, milliseconds: { resize: resized - start, run: ran - resized, select: performance.now() - ran } };
  }

  /** Runs the graph on RGB bytes. Returns {score, box, points} of each face, in pixels of the input. */
  async rows(rgb, [width, height]) {
    const fixed = this.contract.input_size;
    const images = fixed ? padded(rgb, width, height, fixed) : rgb;
    const shape = fixed ? [1, fixed.height, fixed.width, 3] : [1, height, width, 3];
    const input = new this.#ort.Tensor("uint8", images, shape);
    const { boxes, scores, landmarks } = await this.#session.run({ images: input });
    const points = this.contract.landmarks.length;
    const rows = Array.from(scores.data, (score, row) => ({
      score,
      box: Array.from(boxes.data.subarray(row * 4, row * 4 + 4)),
      points: pairs(landmarks?.data.subarray(row * points * 2, (row + 1) * points * 2) ?? []),
    }));
    return rows.filter(({ score }) => score > 0); // rows with score 0 are padding
  }

  /**
   * Runs the self-test of the model file; see self_test.js.
   *
   * Returns a sentence, or null if the file has no self-test. Throws a Problem if the output differs from the expected
   * one by more than the tolerance.
   */
  async testItself() {
    const text = this.metadata.get("mlcycle.self_test");
    if (text === undefined) return null;
    const test = readSelfTest(text);
    const { pixels, score } = distance(test, await this.rows(drawnFaces(test), [test.width, test.height]));
    const difference = `${rounded(pixels)} px and ${rounded(score)} in score from the expected output`;
    const allowed = `${test.tolerance.pixels} and ${test.tolerance.score} are allowed`;
    if (pixels <= test.tolerance.pixels && score <= test.tolerance.score) return `passed: ${difference} (${allowed})`;
    throw new Problem(
      "self-test",
      `the self-test of the model fails in this browser: it differs by ${difference}; at most ${allowed}`,
      "use another browser, or export the page again",
    );
  }

  #toImage({ score, box, points }, [width, height], image) {
    const [across, down] = [image.width / width, image.height / height];
    const place = ([x, y]) => [Math.fround(x * across), Math.fround(y * down)];
    const inside = ([x, y]) => [Math.min(Math.max(x, 0), image.width), Math.min(Math.max(y, 0), image.height)];
    const face = { box: pairs(box).map(place).flatMap(inside), score };
    if (points.length) {
      face.landmarks = Object.fromEntries(this.contract.landmarks.map((name, index) => [name, place(points[index])]));
    }
    return face;
  }
}

// Copies RGB bytes into the top left corner of a black image.
function padded(rgb, width, height, fixed) {
  const canvas = new Uint8Array(fixed.width * fixed.height * 3);
  for (let row = 0; row < height; row++) {
    canvas.set(rgb.subarray(row * width * 3, (row + 1) * width * 3), row * fixed.width * 3);
  }
  return canvas;
}

function rounded(value) {
  return String(Number(value.toPrecision(2)));
}

async function runtime() {
  try {
    return await import(`./${RUNTIME}`);
  } catch {
    throw missing(RUNTIME);
  }
}

// Returns the number of threads: several where the server isolates the page and forbids workers every connection.
async function threads() {
  if (!globalThis.crossOriginIsolated) return 1;
  const { headers } = await fetch(RUNTIME, { method: "HEAD" });
  if (headers.get("Content-Security-Policy") !== WORKER_POLICY) return 1;
  return Math.max(1, Math.min(MOST_THREADS, navigator.hardwareConcurrency));
}

async function session(ort, wasm, bytes, numThreads) {
  Object.assign(ort.env.wasm, { numThreads, proxy: false, wasmBinary: wasm });
  ort.env.logLevel = "error";
  try {
    return await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  } catch (problem) {
    const reason = String(problem?.message ?? problem).slice(0, 300);
    const hint = "use a newer browser: the page needs WebAssembly with SIMD";
    throw new Problem("runtime", `the runtime cannot load the model: ${reason}`, hint);
  }
}

async function fetched(name, count, mayBeMissing = false) {
  try {
    const response = await fetch(name, { cache: "no-cache" });
    if (response.status === 404 && mayBeMissing) return null;
    if (!response.ok) throw missing(name);
    return await read(response, count(Number(response.headers.get("Content-Length"))));
  } catch (problem) {
    throw problem instanceof Problem ? problem : missing(name);
  }
}

async function read(response, received) {
  const chunks = [];
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    received(value.length);
  }
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}

function counter(progress) {
  let [done, total] = [0, 0];
  return (length) => {
    total += length;
    return (more) => progress((done += more), total);
  };
}

function missing(name) {
  const hint = "make sure that the whole folder is served, then reload the page";
  return new Problem("load", `the server did not deliver ${name}`, hint);
}

function pairs(numbers) {
  return Array.from({ length: numbers.length / 2 }, (_, index) => [numbers[2 * index], numbers[2 * index + 1]]);
}
