// Decodes an image file to an upright image with 8 bits per channel, on white, without applying colour profiles, as
// docs/model-file.md requires. In Chromium the pixels are bit-identical to those of Pillow.

import { Problem } from "./problem.js";
import { takeOrientation } from "./webp_orientation.js";

// The limits of mlcycle: about 179 megapixels, and 8 bytes for each of them.
const MOST_PIXELS = 178_956_970;
const MOST_BYTES = 8 * MOST_PIXELS;
// a, b, c, d of the canvas transformation that turns an image upright, for the EXIF orientations 1 to 8. The result is
// then moved back into the canvas.
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

/** An upright image of `width` x `height` pixels, which can be drawn and read row by row. */
class UprightImage {
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

  /** Draws the image onto a canvas, scaled by `scale`, without its first `up` rows. */
  draw(context, scale = 1, up = 0) {
    const [a, b, c, d] = this.#turn;
    context.setTransform(scale, 0, 0, scale, 0, -up * scale);
    context.fillStyle = "white";
    context.fillRect(0, 0, this.width, this.height);
    context.transform(a, b, c, d, a + c < 0 ? this.width : 0, b + d < 0 ? this.height : 0);
    context.drawImage(this.#bitmap, 0, 0);
    context.setTransform(scale, 0, 0, scale, 0, 0);
  }

  /** Returns the RGBA bytes of `count` rows from `top` on; A is 255. */
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
 * Decodes an image file.
 *
 * @param {Blob} file
 * @returns {Promise<UprightImage>} The caller closes it.
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
  return new UprightImage(bitmap, orientation);
}

/** Returns a new canvas. Throws a Problem if it is too large for the browser. */
export function canvasOf(width, height) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  try {
    context.fillRect(width - 1, height - 1, 1, 1);
    if (context.getImageData(width - 1, height - 1, 1, 1).data[3] === 255) return canvas;
  } catch {
    // reported below
  }
  throw tooLarge();
}

async function bytesOf(file) {
  try {
    return new Uint8Array(await file.arrayBuffer());
  } catch {
    throw new Problem("unreadable", "the file cannot be read", "check that it still exists");
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
  if (unread) return new Problem("unsupported", `this browser cannot decode ${unread} files`, "save it as JPEG or PNG");
  const known = nameIn(SIGNATURES);
  if (known) return new Problem("damaged", `the ${known} file is damaged, cut short, or too large for this browser`);
  const message = "it is not an image in a format that this browser can decode";
  return new Problem("not-an-image", message, "save it as JPEG or PNG");
}

function tooLarge() {
  return new Problem("too-large", "the image has too many pixels", "make it smaller");
}
