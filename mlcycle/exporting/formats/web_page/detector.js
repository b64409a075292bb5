// The model in the browser: loaded once, checked, and asked for the faces of one picture after another.

import { readModel } from "./model_file.js";
import { Problem } from "./problem.js";
import { inputSize, resize } from "./resize.js";
import { distance, drawnFaces, readSelfTest } from "./self_test.js";

const MODEL = "model.onnx";
const RUNTIME = "onnxruntime-web/ort.wasm.bundle.min.js";
const WASM = "onnxruntime-web/ort-wasm-simd-threaded.wasm";

/**
 * Fetches the model and the runtime from the page's own server, checks the model and loads it.
 *
 * @param {(done: number, all: number) => void} progress is told how many bytes have come, and of how many.
 * @returns {Promise<Detector>}
 */
export async function load(progress) {
  const count = counter(progress);
  const [bytes, beside, wasm, ort] = await Promise.all([
    fetched(MODEL, count),
    fetched(`${MODEL}.sha256`, count, true),
    fetched(WASM, count),
    runtime(),
  ]);
  const model = await readModel(bytes, beside ? new TextDecoder().decode(beside) : "");
  return new Detector(ort, await session(ort, wasm, bytes), model);
}

/** A loaded model. `contract`, `metadata` and `sha256` are what its file says; `runtime` names what runs it. */
export class Detector {
  #ort;
  #session;

  constructor(ort, session, { contract, metadata, sha256 }) {
    Object.assign(this, { contract, metadata, sha256, runtime: `onnxruntime-web ${ort.env.versions.web}` });
    this.#ort = ort;
    this.#session = session;
    const outputs = ["boxes", "scores", ...(contract.landmarks.length ? ["landmarks"] : [])];
    if (`${session.outputNames}` !== `${outputs}` || `${session.inputNames}` !== "images") {
      throw new Problem("model", "the graph of the model file is not what its contract says", "freeze the model again");
    }
  }

  /**
   * Finds faces in a picture as `decode` gives it.
   *
   * Returns `faces`, all that the graph gives, best first: {box: [x1, y1, x2, y2], score, landmarks: {name: [x, y]}} in
   * pixels of the picture; and `milliseconds` of the stages.
   */
  async look(picture) {
    const start = performance.now();
    const size = inputSize(picture, this.contract);
    const rgb = resize(picture, size);
    const resized = performance.now();
    const rows = await this.rows(rgb, size);
    const ran = performance.now();
    const faces = rows.map((row) => this.#toPhotograph(row, size, picture));
    return { faces, milliseconds: { resize: resized - start, run: ran - resized, select: performance.now() - ran } };
  }

  /** Runs the graph on RGB bytes; returns {score, box, points} of each face, in pixels of the input. */
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
    return rows.filter(({ score }) => score > 0); // rows beyond the picture's own faces have none
  }

  /**
   * Asks the model what it must know, if its file says so: see self_test.js.
   *
   * Returns a sentence, or null from a file without a self-test; throws where the answer is too far from the known one.
   */
  async testItself() {
    const text = this.metadata.get("mlcycle.self_test");
    if (text === undefined) return null;
    const test = readSelfTest(text);
    const { pixels, score } = distance(test, await this.rows(drawnFaces(test), [test.width, test.height]));
    const said = `${figure(pixels)} px and ${figure(score)} in score from the known answer`;
    const allowed = `${test.tolerance.pixels} and ${test.tolerance.score} are allowed`;
    if (pixels <= test.tolerance.pixels && score <= test.tolerance.score) return `passed: ${said} (${allowed})`;
    throw new Problem(
      "self-test",
      `the self-test of the model fails in this browser: it is ${said}, where at most ${allowed}`,
      "take another browser, or export the page again",
    );
  }

  #toPhotograph({ score, box, points }, [width, height], photo) {
    const [across, down] = [photo.width / width, photo.height / height];
    const place = ([x, y]) => [Math.fround(x * across), Math.fround(y * down)];
    const inside = ([x, y]) => [Math.min(Math.max(x, 0), photo.width), Math.min(Math.max(y, 0), photo.height)];
    const face = { box: pairs(box).map(place).flatMap(inside), score };
    if (points.length) {
      face.landmarks = Object.fromEntries(this.contract.landmarks.map((name, index) => [name, place(points[index])]));
    }
    return face;
  }
}

// Lays RGB bytes into the top left of a black picture.
function padded(rgb, width, height, fixed) {
  const canvas = new Uint8Array(fixed.width * fixed.height * 3);
  for (let row = 0; row < height; row++) {
    canvas.set(rgb.subarray(row * width * 3, (row + 1) * width * 3), row * fixed.width * 3);
  }
  return canvas;
}

function figure(value) {
  return String(Number(value.toPrecision(2)));
}

async function runtime() {
  try {
    return await import(`./${RUNTIME}`);
  } catch {
    throw missing(RUNTIME);
  }
}

async function session(ort, wasm, bytes) {
  // More threads would need two headers of the server's; the picture's bytes stay in this one.
  Object.assign(ort.env.wasm, { numThreads: 1, proxy: false, wasmBinary: wasm });
  ort.env.logLevel = "error";
  try {
    return await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  } catch (problem) {
    const said = String(problem?.message ?? problem).slice(0, 300);
    const hint = "take a newer browser: it needs WebAssembly with SIMD";
    throw new Problem("runtime", `the runtime cannot load the model: ${said}`, hint);
  }
}

async function fetched(name, count, mayBeMissing = false) {
  try {
    const answer = await fetch(name, { cache: "no-cache" });
    if (answer.status === 404 && mayBeMissing) return null;
    if (!answer.ok) throw missing(name);
    return await read(answer, count(Number(answer.headers.get("Content-Length"))));
  } catch (problem) {
    throw problem instanceof Problem ? problem : missing(name);
  }
}

async function read(answer, came) {
  const chunks = [];
  for (const reader = answer.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    came(value.length);
  }
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}

function counter(progress) {
  let [done, all] = [0, 0];
  return (length) => {
    all += length;
    return (more) => progress((done += more), all);
  };
}

function missing(name) {
  const hint = "see that the whole folder is served, then load again";
  return new Problem("load", `${name} did not come from the server`, hint);
}

function pairs(numbers) {
  return Array.from({ length: numbers.length / 2 }, (_, index) => [numbers[2 * index], numbers[2 * index + 1]]);
}
