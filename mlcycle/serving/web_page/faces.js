// Draws faces over an image, as SVG in the image's own pixels: boxes, scores and landmarks. Lines and letters keep their
// size on the screen, however large the image is.

const [LETTERS, DOT] = [12, 1.6]; // CSS pixels: the height of a score, the smallest radius of a landmark
// The radius of a landmark's dot is this part of its face.
const POINTS_ACROSS = 36;
const SVG = "http://www.w3.org/2000/svg";

export class FacesOverlay {
  #faces = [];
  #size = { width: 1, height: 1 };

  constructor() {
    this.element = shape("svg", { class: "faces", role: "img" });
    new ResizeObserver(() => this.#draw()).observe(this.element);
  }

  /**
   * Draws faces in place of those drawn before.
   *
   * @param {{box: number[], score: number, landmarks?: object}[]} faces best first, in pixels of the image.
   * @param {{width: number, height: number}} size of the image.
   * @param {string} label that says in words what is to be seen.
   */
  show(faces, size, label) {
    [this.#faces, this.#size] = [faces, size];
    const { width, height } = size;
    this.element.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.element.setAttribute("width", width);
    this.element.setAttribute("height", height);
    this.element.setAttribute("aria-label", label);
    this.#draw();
  }

  #draw() {
    const shown = this.element.getBoundingClientRect().width;
    const scale = shown ? this.#size.width / shown : 1; // pixels of the image in one of CSS
    // The best face is drawn last: its label is above those of its neighbours.
    this.element.replaceChildren(...this.#faces.map((face) => this.#draft(face, scale)).reverse());
  }

  #draft({ box, score, landmarks = {} }, scale) {
    const [x1, y1, x2, y2] = box;
    const shorter = Math.min(x2 - x1, y2 - y1);
    const r = Math.max(Math.min(DOT * scale, shorter / 12), shorter / POINTS_ACROSS);
    const dots = Object.values(landmarks).map(([cx, cy]) => shape("circle", { cx, cy, r }));
    const outline = { x: x1, y: y1, width: x2 - x1, height: y2 - y1, rx: Math.min(3 * scale, shorter / 8) };
    const label = this.#label(box, score.toFixed(2), scale);
    return shape(
      "g",
      { class: shorter / scale < 24 ? "face small" : "face" },
      shape("rect", { class: "box", ...outline }),
      ...dots,
      ...label,
    );
  }

  #label([x1, y1, x2], text, scale) {
    const letters = LETTERS * scale;
    const [width, height] = [letters * 2.6, letters * 1.35];
    if (width > (x2 - x1) * 1.1) return []; // a label wider than the box would cover neighbouring faces
    const x = Math.min(Math.max(0, x1), Math.max(0, this.#size.width - width));
    const y = y1 >= height ? y1 - height : y1;
    const words = shape("text", { x: x + width / 2, y: y + height / 2, "font-size": letters });
    words.textContent = text;
    return [shape("rect", { class: "label", x, y, width, height, rx: letters / 4 }), words];
  }
}

function shape(tag, attributes, ...content) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...content);
  return made;
}

/** Returns the number of faces as a sentence. */
export function verdict(count) {
  return !count ? "No face." : count === 1 ? "That's a face." : `Those are ${count} faces.`;
}
