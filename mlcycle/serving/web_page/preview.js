// Shows an image as this browser can, and the faces over it in the frame that the server saw.

import { element } from "./element.js";
import { FacesOverlay } from "./faces.js";

// Longest side of the still of an animation, in pixels.
const STILL_SIDE = 1600;

export class Preview {
  #overlay = new FacesOverlay();
  #original;
  #redacted = "";
  #image = element("img");
  #canShow = true;

  /** @param {Blob} file of any kind; those that the browser does not decode get an empty frame. */
  constructor(file) {
    this.#original = URL.createObjectURL(file);
    this.#image.alt = ""; // the overlay says what is to be seen
    this.frame = element("div", "frame", this.#image);
    this.element = element("div", "preview", this.frame);
    this.#image.src = this.#original;
  }

  /** Returns once the browser has decoded the image, or cannot. */
  async decoded() {
    this.#canShow = await this.#image.decode().then(
      () => true,
      () => false,
    );
    this.frame.hidden = !this.#canShow;
  }

  /**
   * Fits the preview to the server's record of the image, and returns why the picture is left out, or "".
   *
   * @param {{image: {width: number, height: number}, note: string}} record
   */
  fit({ image, note }) {
    const { naturalWidth, naturalHeight } = this.#image;
    const isSame = naturalWidth === image.width && naturalHeight === image.height;
    if (this.#canShow && isSame && note) this.#image.replaceWith(this.#still());
    this.#image.hidden = !(this.#canShow && isSame);
    this.frame.append(this.#overlay.element);
    this.frame.hidden = false;
    this.frame.classList.remove("is-redacted");
    this.frame.classList.toggle("empty", this.#image.hidden);
    if (!this.#canShow) return "This browser cannot show the format; the boxes are where the server found them.";
    return isSame
      ? ""
      : "This browser would show the image in another size or orientation; the boxes are where the server found them.";
  }

  /** Draws faces; see FacesOverlay.show. */
  show(faces, size, label) {
    this.#overlay.show(faces, size, label);
  }

  /** Takes away the faces and the redacted copy: there is no answer about the image. */
  clear() {
    this.#overlay.element.remove();
    this.#image.hidden = false;
    this.frame.classList.remove("is-redacted", "empty");
    this.frame.hidden = !this.#canShow;
  }

  /** Shows the redacted copy in place of the image. */
  showRedacted(blob) {
    URL.revokeObjectURL(this.#redacted);
    this.#redacted = URL.createObjectURL(blob);
    this.frame.querySelector(".redacted")?.remove();
    const copy = Object.assign(element("img", "redacted"), { src: this.#redacted, alt: "The redacted image" });
    this.frame.append(copy);
    this.frame.classList.add("is-redacted");
  }

  /** Shows the image, or its redacted copy again. */
  toggle() {
    return this.frame.classList.toggle("is-redacted");
  }

  close() {
    URL.revokeObjectURL(this.#original);
    URL.revokeObjectURL(this.#redacted);
  }

  // The server reads the first image of an animation, and the boxes fit no other one.
  #still() {
    const { naturalWidth, naturalHeight } = this.#image;
    const scale = Math.min(1, STILL_SIDE / Math.max(naturalWidth, naturalHeight));
    const [width, height] = [naturalWidth, naturalHeight].map((side) => Math.max(1, Math.round(side * scale)));
    const still = Object.assign(element("canvas"), { width, height });
    still.getContext("2d").drawImage(this.#image, 0, 0, width, height);
    return still;
  }
}
