// A photograph's file → an upright picture with 8 bits a channel, on white, without regard to colour profiles, as
// docs/model-file.md asks. In Chromium the pixels are those that Pillow decodes, to the bit.

import { Problem } from "./problem.js";
import { takeOrientation } from "./webp_orientation.js";

// What mlcycle itself takes: about 179 megapixels, and 8 bytes for each of them without compression.
const MOST_PIXELS = 178_956_970;
const MOST_BYTES = 8 * MOST_PIXELS;
// How the axes of an upright picture lie in a picture that is stored in one of the eight ways: a, b, c, d of a canvas's
// transformation, which is then moved back to where it is seen.
const TURNS = [
  [1, 0, 0, 1], [-1, 0, 0, 1], [-1, 0, 0, -1], [1, 0, 0, -1],
  [0, 1, 1, 0], [0, 1, -1, 0], [0, -1, -1, 0], [0, -1, 1, 0],
];
const SIGNATURES = [
  ["JPEG", /^\xff\xd8\xff/],
  ["PNG", /^\x89PNG/],
  ["GIF", /^GIF8/],
  ["WebP", /^RIFF....WEBP/s],
  ["BMP", /^BM/],
  ["AVIF", /^....ftypavi[fs]/s],
];
const UNREAD = [
  ["HEIC", /^....ftyp(hei|hev|mif|msf)/s],
  ["TIFF", /^(II\*\0|MM\0\*)/],
];

/** An upright picture of `width` x `height` pixels, ready to be drawn and to be read row by row. */
class Picture {
  #bitmap;
  #turn;
  #canvas = null;

  constructor(bitmap, orientation) {
    this.#bitmap = bitmap;
    this.#turn = TURNS[orientation - 1];
    const lying = orientation >= 5;
    this.width = lying ? bitmap.height : bitmap.width;
    this.height = lying ? bitmap.width : bitmap.height;
  }

  /** Draws the picture onto a canvas, `scale` times as large, after `up` rows are left out at the top. */
  draw(context, scale = 1, up = 0) {
    const [a, b, c, d] = this.#turn;
    context.setTransform(scale, 0, 0, scale, 0, -up * scale);
    context.fillStyle = "white";
    context.fillRect(0, 0, this.width, this.height);
    context.transform(a, b, c, d, a + c < 0 ? this.width : 0, b + d < 0 ? this.height : 0);
    context.drawImage(this.#bitmap, 0, 0);
    context.setTransform(scale, 0, 0, scale, 0, 0);
  }

  /** Returns the RGBA bytes of so many rows from `top` on; A is 255. */
  rows(top, count) {
    if (this.#canvas === null || this.#canvas.height < count) this.#canvas = canvasOf(this.width, count);
    const context = this.#canvas.getContext("2d", { willReadFrequently: true });
    context.imageSmoothingEnabled = false;
    this.draw(context, 1, top);
    return context.getImageData(0, 0, this.width, count).data;
  }

  close() {
    this.#bitmap.close();
    this.#canvas = null;
  }
}

/**
 * Decodes a photograph.
 *
 * @param {Blob} file
 * @returns {Promise<Picture>} to be closed when it is no longer needed.
 */
export async function decode(file) {
  if (file.size === 0) throw new Problem("empty", "the file is empty");
  if (file.size > MOST_BYTES) throw tooLarge();
  const { bytes, orientation } = takeOrientation(await bytesOf(file));
  const bitmap = await bitmapOf(bytes);
  if (bitmap.width * bitmap.height > MOST_PIXELS) {
    bitmap.close();
    throw tooLarge();
  }
  return new Picture(bitmap, orientation);
}

/** Returns a new canvas; one that the browser cannot make so large counts as a photograph that is too large. */
export function canvasOf(width, height) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  try {
    context.fillRect(width - 1, height - 1, 1, 1);
    if (context.getImageData(width - 1, height - 1, 1, 1).data[3] === 255) return canvas;
  } catch {
    // said below
  }
  throw tooLarge();
}

async function bytesOf(file) {
  try {
    return new Uint8Array(await file.arrayBuffer());
  } catch {
    throw new Problem("unreadable", "the file cannot be read", "see that it is still there");
  }
}

async function bitmapOf(bytes) {
  const options = { imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "none" };
  try {
    return await createImageBitmap(new Blob([bytes]), options);
  } catch {
    throw undecoded(String.fromCharCode(...bytes.subarray(0, 16)));
  }
}

function undecoded(start) {
  const nameIn = (kinds) => kinds.find(([, signature]) => signature.test(start))?.[0];
  const unread = nameIn(UNREAD);
  if (unread) return new Problem("unsupported", `this browser does not read ${unread} files`, "save it as JPEG or PNG");
  const known = nameIn(SIGNATURES);
  if (known) return new Problem("damaged", `the ${known} file is damaged, cut short, or too large for this browser`);
  const message = "it is not a picture of a format that this browser reads";
  return new Problem("not-an-image", message, "save it as JPEG or PNG");
}

function tooLarge() {
  return new Problem("too-large", "it has too many pixels", "make it smaller");
}
