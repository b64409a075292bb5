// One photograph on the page: from "looking" to its faces, and what can be copied and saved of them.

import { drawFaces } from "./drawing.js";
import { canvasOf, decode } from "./picture.js";

// The picture that is shown is no larger than this, and the boxes over it are drawn so fine; what is saved has the
// photograph's own pixels.
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
    this.element = element("article", "photo waiting");
    this.words = element("div", "words");
    this.element.append(this.words);
    this.#say("Waiting …");
  }

  /** Looks at the photograph and shows what is found; says so if it cannot be read. */
  async look(threshold) {
    this.#say("Looking …");
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

  /** Shows the faces that score at least so much. Returns the sentence that says how many there are. */
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

  /** Returns the record of the photograph as `mlcycle infer --format json` writes it. */
  text() {
    const faces = this.#found().map(rounded);
    const record = { ...this.#record, status: faces.length ? "ok" : "empty", faces };
    const onOneLine = (_, numbers) => `[${numbers.replace(/\s+/g, " ")}]`;
    return JSON.stringify(record, null, 1).replace(/\[\s+([-\d.,\s]+?)\s+\]/g, onOneLine);
  }

  async #detect() {
    const start = performance.now();
    const picture = await decode(this.#file);
    try {
      const decoded = performance.now() - start;
      const { faces, milliseconds } = await this.#detector.look(picture);
      this.#faces = faces;
      this.#show(picture);
      return this.#recordOf(picture, { decode: decoded, ...milliseconds });
    } finally {
      picture.close();
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

  #show(picture) {
    const scale = SHOWN_SIDE / Math.max(picture.width, picture.height);
    const side = (length, times) => Math.max(1, Math.round(length * times));
    const canvas = (times) => canvasOf(side(picture.width, times), side(picture.height, times));
    const [photo, faces] = [canvas(Math.min(1, scale)), canvas(scale)];
    const context = photo.getContext("2d");
    context.imageSmoothingQuality = "high";
    picture.draw(context, Math.min(1, scale));
    faces.className = "faces";
    faces.setAttribute("role", "img");
    this.#shown = { canvas: faces, scale };
    this.verdict = element("h2");
    const frame = element("div", "frame", photo, faces);
    this.element.prepend(element("div", "picture", frame));
  }

  #found() {
    return this.#faces.filter((face) => face.score >= this.#threshold);
  }

  #say(text) {
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
    const stem = this.#file.name.replace(/\.[^.]*$/, "") || "photo";
    const json = () => saveAs(new Blob([this.text(), "\n"], { type: "application/json" }), `${stem}.json`);
    return element(
      "div",
      "actions",
      this.#button("Save photo with boxes", async () => saveAs(await this.#drawn(), `${stem}-faces.jpg`)),
      this.#button("Save JSON", json),
      // Where the page came neither by HTTPS nor from this machine, a browser lends no clipboard.
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
    const picture = await decode(this.#file);
    try {
      const canvas = canvasOf(picture.width, picture.height);
      const context = canvas.getContext("2d");
      picture.draw(context);
      drawFaces(context, this.#found(), picture);
      return await new Promise((give) => canvas.toBlob(give, "image/jpeg", JPEG_QUALITY));
    } finally {
      picture.close();
    }
  }
}

/** Returns a box that says what went wrong, and what can be done about it. */
export function problemBox({ message, hint = "" }) {
  const sentence = message.charAt(0).toUpperCase() + message.slice(1);
  const more = hint ? ` ${hint.charAt(0).toUpperCase()}${hint.slice(1)}.` : "";
  return element("div", "problem", element("p", "", element("strong", "", `${sentence}.`), more));
}

/** Returns a new element with a class and with elements or texts in it. */
export function element(tag, name = "", ...content) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  made.append(...content);
  return made;
}

// What runs next keeps the browser from painting, so it gets a moment before; a hidden page gets no frames.
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
