// The EXIF orientation of a WebP file. Browsers apply the orientation of JPEG, PNG and AVIF, but Chromium ignores that
// of WebP. It is read here, and removed from the copy that is decoded, so that no browser applies it twice.

const ORIENTATION = 0x0112;

/**
 * Returns the file without its EXIF, and its orientation, 1 to 8.
 *
 * @param {Uint8Array} bytes of any file. Files other than WebP, or without EXIF, are returned unchanged, with 1.
 */
export function takeOrientation(bytes) {
  const exif = exifChunk(bytes);
  if (!exif) return { bytes, orientation: 1 };
  const without = bytes.slice();
  without.set([0x58, 0x58, 0x58, 0x58], exif.place); // "XXXX": decoders skip unknown chunks
  return { bytes: without, orientation: orientationOf(bytes.subarray(exif.place + 8, exif.place + 8 + exif.length)) };
}

function exifChunk(bytes) {
  if (word(bytes, 0) !== "RIFF" || word(bytes, 8) !== "WEBP") return null;
  const view = viewOf(bytes);
  for (let place = 12; place + 8 <= bytes.length; ) {
    const length = view.getUint32(place + 4, true);
    if (word(bytes, place) === "EXIF") return { place, length };
    place += 8 + length + (length % 2);
  }
  return null;
}

// EXIF is a TIFF without an image; its first directory can hold the orientation.
function orientationOf(exif) {
  const tiff = word(exif, 0) === "Exif" ? exif.subarray(6) : exif;
  const little = word(tiff, 0).startsWith("II");
  const view = viewOf(tiff);
  try {
    const directory = view.getUint32(4, little);
    for (let entry = 0; entry < view.getUint16(directory, little); entry++) {
      const place = directory + 2 + entry * 12;
      if (view.getUint16(place, little) === ORIENTATION) {
        const value = view.getUint16(place + 8, little);
        return value >= 1 && value <= 8 ? value : 1;
      }
    }
  } catch (problem) {
    if (!(problem instanceof RangeError)) throw problem; // a directory that points outside the data has no effect
  }
  return 1;
}

function word(bytes, place) {
  return String.fromCharCode(...bytes.subarray(place, place + 4));
}

function viewOf(bytes) {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}
