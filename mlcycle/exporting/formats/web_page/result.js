// The result for one image on the page: its faces, and the buttons that copy and save them.

import { drawFaces } from "./drawing.js";
import { canvasOf, decode } from "./image.js";

// Longest side of the preview and its boxes, in pixels. Saved images have the size of the original.
const SHOWN_SIDE = 1600;
const JPEG_QUALITY = 0.92;

export class Result {
  #file;
  #detector;
  #faces = [];
  #shown = null;
  #threshold = 0;
  #record = null;

  constructor(file, detector) {
    this.#file = file;
    this.#detector = detector;
    this.element = element("article", "result waiting");
    this.words = element("div", "words");
    this.element.append(this.words);
    this.#showStatus("Waiting …");
  }

  /** Detects faces in the image and shows them, or an error if the image cannot be read. */
  async detect(threshold) {
    this.#showStatus("Detecting …");
    await painted();
    try {
      const record = await this.#detect();
      this.element.classList.remove("waiting");
      this.#record = record;
      this.words.replaceChildren(this.verdict, this.#name(), this.#times(), this.#actions(), this.#details());
      this.apply(threshold);
    } catch (problem) {
      this.#fail(problem);
    }
  }

  /** Shows the faces that score at least `threshold`. Returns a sentence with their number. */
  apply(threshold) {
    this.#threshold = threshold;
    if (!this.#shown) return "";
    const faces = this.#found();
    const { canvas, scale } = this.#shown;
    const context = canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.setTransform(scale, 0, 0, scale, 0, 0);
    drawFaces(context, faces, this.#record.image);
    const count = faces.length;
    this.verdict.textContent = !count ? "No face." : count === 1 ? "That's a face." : `Those are ${count} faces.`;
    canvas.setAttribute("aria-label", `${this.#file.name}: ${this.verdict.textContent}`);
    this.json.textContent = this.text();
    return `${this.#file.name}: ${this.verdict.textContent}`;
  }

  /** Returns the record of the image in the form of `mlcycle infer --format json`. */
  text() {
    const faces = this.#found().map(rounded);
    const record = { ...this.#record, status: faces.length ? "ok" : "empty", faces };
    const onOneLine = (_, numbers) => `[${numbers.replace(/\s+/g, " ")}]`;
    return JSON.stringify(record, null, 1).replace(/\[\s+([-\d.,\s]+?)\s+\]/g, onOneLine);
  }

  async #detect() {
    const start = performance.now();
    const image = await decode(this.#file);
    try {
      const decoded = performance.now() - start;
      const { faces, milliseconds } = await this.#detector.detect(image);
      this.#faces = faces;
      this.#show(image);
      return this.#recordOf(image, { decode: decoded, ...milliseconds });
    } finally {
      image.close();
    }
  }

  #recordOf({ width, height }, milliseconds) {
    return {
      schema_version: 1,
      input: this.#file.name,
      part: null,
      status: "",
      error: null,
      image: { width, height },
      note: "",
      faces: [],
      model: { name: this.#detector.contract.name, sha256: this.#detector.sha256 },
      provider: "wasm",
      annotated: null,
      redacted: null,
      redacted_quality: null,
      crops: null,
      milliseconds: Object.fromEntries(Object.entries(milliseconds).map(([stage, time]) => [stage, fixed(time, 3)])),
    };
  }

  #show(image) {
    const scale = SHOWN_SIDE / Math.max(image.width, image.height);
    const side = (length, times) => Math.max(1, Math.round(length * times));
    const canvas = (times) => canvasOf(side(image.width, times), side(image.height, times));
    const [preview, faces] = [canvas(Math.min(1, scale)), canvas(scale)];
    const context = preview.getContext("2d");
    context.imageSmoothingQuality = "high";
    image.draw(context, Math.min(1, scale));
    faces.className = "faces";
    faces.setAttribute("role", "img");
    this.#shown = { canvas: faces, scale };
    this.verdict = element("h2");
    const frame = element("div", "frame", preview, faces);
    this.element.prepend(element("div", "preview", frame));
  }

  #found() {
    return this.#faces.filter((face) => face.score >= this.#threshold);
  }

  #showStatus(text) {
    this.words.replaceChildren(element("h2", "", text), this.#name());
  }

  #fail(problem) {
    this.element.classList.remove("waiting");
    this.words.replaceChildren(element("h2", "", "Unreadable."), this.#name(), problemBox(problem));
  }

  #name() {
    const size = this.#record ? ` · ${this.#record.image.width} × ${this.#record.image.height}` : "";
    return element("p", "name", this.#file.name + size);
  }

  #times() {
    const stages = Object.entries(this.#record.milliseconds).map(([stage, time]) => `${stage} ${time.toFixed(0)} ms`);
    return element("p", "times", stages.join(" · "));
  }

  #actions() {
    const baseName = this.#file.name.replace(/\.[^.]*$/, "") || "photo";
    const json = () => saveAs(new Blob([this.text(), "\n"], { type: "application/json" }), `${baseName}.json`);
    return element(
      "div",
      "actions",
      this.#button("Save photo with boxes", async () => saveAs(await this.#drawn(), `${baseName}-faces.jpg`)),
      this.#button("Save JSON", json),
      // Browsers offer the clipboard only to pages that came by HTTPS or from this machine.
      ...(navigator.clipboard ? [this.#button("Copy JSON", () => navigator.clipboard.writeText(this.text()))] : []),
    );
  }

  #button(label, act) {
    const button = Object.assign(element("button", "", label), { type: "button" });
    button.addEventListener("click", async () => {
      try {
        await act();
        button.textContent = `${label} ✓`;
      } catch (problem) {
        this.words.append(problemBox(problem));
      }
    });
    return button;
  }

  #details() {
    this.json = element("pre");
    this.json.tabIndex = 0;
    return element("details", "", element("summary", "", "Faces as JSON"), this.json);
  }

  async #drawn() {
    const image = await decode(this.#file);
    try {
      const canvas = canvasOf(image.width, image.height);
      const context = canvas.getContext("2d");
      image.draw(context);
      drawFaces(context, this.#found(), image);
      return await new Promise((give) => canvas.toBlob(give, "image/jpeg", JPEG_QUALITY));
    } finally {
      image.close();
    }
  }
}

/** Returns a box with the sentence and the hint of a Problem. */
export function problemBox({ message, hint = "" }) {
  const sentence = message.charAt(0).toUpperCase() + message.slice(1);
  const more = hint ? ` ${hint.charAt(0).toUpperCase()}${hint.slice(1)}.` : "";
  return element("div", "problem", element("p", "", element("strong", "", `${sentence}.`), more));
}

/** Returns a new element with a class and with elements or texts as content. */
export function element(tag, name = "", ...content) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  made.append(...content);
  return made;
}

// Lets the browser paint before it is blocked by computation. A hidden page gets no frames, hence the timeout.
function painted() {
  return new Promise((go) => {
    requestAnimationFrame(() => setTimeout(go));
    setTimeout(go, 100);
  });
}

function rounded({ box, score, landmarks }) {
  const pixels = (values) => values.map((value) => fixed(value, 2));
  const face = { box: pixels(box), score: fixed(score, 6) };
  if (!landmarks) return face;
  const points = Object.entries(landmarks).map(([name, point]) => [name, pixels(point)]);
  return { ...face, landmarks: Object.fromEntries(points) };
}

function fixed(value, digits) {
  return Number(value.toFixed(digits));
}

function saveAs(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
