// Shrinks an image to the model's input size with an antialiased triangle filter, bit-identical to Pillow's
// Image.resize(size, Image.Resampling.BILINEAR) on 8-bit pixels: rows and columns one after the other, with integer
// weights, rounded to bytes in between.

// A weight of 1 is 2^BITS; a weighted sum of bytes then stays below 2^31.
const BITS = 22;
const HALF = 1 << (BITS - 1);
// Pixels read at once; limits the memory for large images.
const STRIP_PIXELS = 1 << 20;

/** Returns [width, height] of the model input for an image, in pixels; never larger than the image. */
export function inputSize({ width, height }, { resize, input_size: fixed }) {
  const fit = fixed ? Math.min(fixed.width / width, fixed.height / height) : resize.long_side / Math.max(width, height);
  const scale = Math.min(1, fit);
  return [width, height].map((side) => Math.max(1, Math.floor(side * scale + 0.5)));
}

/**
 * Shrinks an image along one or both sides.
 *
 * @param {{width: number, height: number, rows: (top: number, count: number) => Uint8ClampedArray}} image
 *   `rows` returns the RGBA bytes of `count` rows; A is ignored.
 * @param {number[]} size [width, height] of the result.
 * @returns {Uint8Array} RGB bytes, row by row.
 */
export function resize(image, [width, height]) {
  const steps = [(each) => narrower(each, width), (each) => shorter(each, height)];
  // As Pillow 13 does. Older versions always begin with the rows, which can differ by 1.
  if (image.height - height > 2 * (image.width - width)) steps.reverse();
  return withoutAlpha(steps.reduce((each, step) => step(each), image));
}

/**
 * Computes the source pixels and weights of each output pixel along one side.
 *
 * Output pixel i is a weighted sum of `counts[i]` pixels from `firsts[i]` on; the weights start at `weights[i * most]`.
 */
function along(from, to) {
  const scale = from / to;
  const support = Math.max(scale, 1); // the triangle's half width, in pixels of the image
  const most = Math.ceil(support) * 2 + 1;
  const firsts = new Int32Array(to);
  const counts = new Int32Array(to);
  const weights = new Int32Array(to * most);
  for (let i = 0; i < to; i++) {
    const centre = (i + 0.5) * scale;
    firsts[i] = Math.max(0, Math.trunc(centre - support + 0.5));
    counts[i] = Math.min(from, Math.trunc(centre + support + 0.5)) - firsts[i];
    weights.set(triangle(firsts[i], counts[i], centre, 1 / support), i * most);
  }
  return { to, most, firsts, counts, weights };
}

function triangle(first, count, centre, perPixel) {
  const shares = Array.from({ length: count }, (_, j) =>
    Math.max(0, 1 - Math.abs((first + j - centre + 0.5) * perPixel)),
  );
  const sum = shares.reduce((total, share) => total + share, 0);
  return shares.map((share) => Math.trunc(0.5 + (share / sum) * (1 << BITS)));
}

function narrower(image, to) {
  if (to === image.width) return image;
  const across = along(image.width, to);
  const rgba = new Uint8Array(image.height * to * 4);
  for (const [top, count] of strips(image)) {
    squeezeRows(image.rows(top, count), image.width, across, rgba.subarray(top * to * 4, (top + count) * to * 4));
  }
  return stored(rgba, to, image.height);
}

function squeezeRows(rgba, width, { to, most, firsts, counts, weights }, result) {
  for (let row = 0, out = 0; out < result.length; row++) {
    for (let i = 0; i < to; i++, out += 4) {
      let [red, green, blue] = [HALF, HALF, HALF];
      let pixel = (row * width + firsts[i]) * 4;
      for (let k = i * most, end = k + counts[i]; k < end; k++, pixel += 4) {
        red += rgba[pixel] * weights[k];
        green += rgba[pixel + 1] * weights[k];
        blue += rgba[pixel + 2] * weights[k];
      }
      result[out] = byte(red);
      result[out + 1] = byte(green);
      result[out + 2] = byte(blue);
    }
  }
}

function shorter(image, to) {
  if (to === image.height) return image;
  const { most, firsts, counts, weights } = along(image.height, to);
  const stride = image.width * 4;
  const rgba = new Uint8Array(to * stride);
  const sums = new Int32Array(stride);
  for (let i = 0; i < to; i++) {
    sums.fill(HALF);
    const rows = image.rows(firsts[i], counts[i]);
    for (let j = 0; j < counts[i]; j++) {
      const weight = weights[i * most + j];
      for (let x = 0, from = j * stride; x < stride; x++, from++) sums[x] += rows[from] * weight;
    }
    for (let x = 0; x < stride; x++) rgba[i * stride + x] = byte(sums[x]);
  }
  return stored(rgba, image.width, to);
}

function withoutAlpha(image) {
  const rgb = new Uint8Array(image.width * image.height * 3);
  let out = 0;
  for (const [top, count] of strips(image)) {
    const rgba = image.rows(top, count);
    for (let from = 0; from < rgba.length; from += 4) {
      rgb[out++] = rgba[from];
      rgb[out++] = rgba[from + 1];
      rgb[out++] = rgba[from + 2];
    }
  }
  return rgb;
}

/** Returns RGBA bytes as an image that `resize` accepts. */
export function stored(rgba, width, height) {
  const stride = width * 4;
  return { width, height, rows: (top, count) => rgba.subarray(top * stride, (top + count) * stride) };
}

function* strips({ width, height }) {
  const most = Math.max(1, Math.floor(STRIP_PIXELS / width));
  for (let top = 0; top < height; top += most) yield [top, Math.min(most, height - top)];
}

// The sum of rounded weights can exceed 1; sums are never negative.
function byte(sum) {
  return Math.min(255, sum >> BITS);
}
