// The choice of what counts as a face: an operating point of the model, or any score above the lowest of them.

import { element } from "./element.js";

// Digits of a threshold, as shown and chosen; those of operating points are in thousandths.
const DIGITS = 3;

const part = (id) => document.getElementById(id);

export class Threshold {
  #points = {};
  #changed;
  value = 0;

  /** @param {() => void} changed is called after each choice of the user. */
  constructor(changed) {
    this.#changed = changed;
    part("least").addEventListener("input", () => this.#choose(this.#slid()));
  }

  /** Offers the operating points of a model, and chooses "balanced". */
  offer(points) {
    const sorted = Object.entries(points).sort(([, one], [, other]) => one - other);
    this.#points = Object.fromEntries(sorted);
    part("least").min = sorted[0][1];
    part("points").replaceChildren(...sorted.map(([name, value]) => this.#radio(name, value)));
    this.#show(points.balanced);
  }

  /** Returns the name of the lowest operating point, at which requests are made: what the page shows is a part of that. */
  get lowest() {
    return Object.keys(this.#points)[0];
  }

  /** Returns the threshold as a query parameter. */
  get parameter() {
    const name = Object.keys(this.#points).find((each) => this.#points[each] === this.value);
    return name ? { at: name } : { threshold: this.value };
  }

  #radio(name, value) {
    const radio = Object.assign(element("input"), { type: "radio", name: "point", value });
    radio.addEventListener("change", () => this.#choose(value));
    return element("label", "", radio, `${name.replaceAll("_", " ")} (${value.toFixed(DIGITS)})`);
  }

  // What the page shows is what it applies; a score that reads like that of an operating point is that one.
  #slid() {
    const text = Number(part("least").value).toFixed(DIGITS);
    return Object.values(this.#points).find((point) => point.toFixed(DIGITS) === text) ?? Number(text);
  }

  #choose(value) {
    this.#show(value);
    this.#changed();
  }

  #show(value) {
    this.value = value;
    part("least").value = value;
    part("least-value").value = value.toFixed(DIGITS);
    for (const radio of part("points").querySelectorAll("input")) radio.checked = Number(radio.value) === value;
  }
}
