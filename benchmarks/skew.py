"""What a model finds if inference prepares an image otherwise than training did.

    python benchmarks/skew.py MODEL IMAGE [--threshold SCORE]

Needs only mlcycle. Each row prepares the image in one wrong way, and counts how many of the faces that the right way
finds are found again (IoU 0.5 or more), and how far the corners of their boxes are off at most, in pixels of the image.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageOps

from mlcycle.artifact.bundled import locate
from mlcycle.inference.detect import load_detector

Boxes = np.ndarray


def overlaps(boxes_N4: Boxes, others_M4: Boxes) -> np.ndarray:
    """Returns the IoU of each box with each other one, (N, M)."""
    low_NM2 = np.maximum(boxes_N4[:, None, :2], others_M4[None, :, :2])
    high_NM2 = np.minimum(boxes_N4[:, None, 2:], others_M4[None, :, 2:])
    common_NM = np.prod(np.clip(high_NM2 - low_NM2, 0, None), axis=2)
    areas_N, areas_M = (np.prod(each[:, 2:] - each[:, :2], axis=1) for each in (boxes_N4, others_M4))
    return common_NM / (areas_N[:, None] + areas_M[None] - common_NM)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("image")
    parser.add_argument("--threshold", type=float)
    options = parser.parse_args()
    detector = load_detector(locate(options.model), provider="cpu")
    threshold = options.threshold or detector.contract.thresholds["balanced"]
    image = ImageOps.exif_transpose(Image.open(options.image)).convert("RGB")
    side = detector.contract.resize.long_side
    scale = min(1, side / max(image.size))
    size = (round(image.width * scale), round(image.height * scale))

    def found(pixels: Image.Image, stretch: tuple[float, float]) -> Boxes:
        boxes_1N4, scores_1N, _ = detector.session.run(np.ascontiguousarray(np.asarray(pixels))[None])
        return boxes_1N4[0][scores_1N[0] >= threshold] * np.tile(stretch, 2)

    def resized(how: Image.Resampling) -> Boxes:
        return found(image.resize(size, how), (1 / scale, 1 / scale))

    def lying() -> Boxes:
        boxes_N4 = found(image.resize(size, Image.Resampling.BILINEAR).transpose(Image.Transpose.ROTATE_90), (1, 1))
        x1, y1, x2, y2 = boxes_N4.T
        return np.stack([size[0] - y2, x1, size[0] - y1, x2], axis=1) / scale

    def of_channels(change: Callable[[np.ndarray], np.ndarray]) -> Boxes:
        pixels_HW3 = change(np.asarray(image.resize(size, Image.Resampling.BILINEAR)))
        return found(Image.fromarray(pixels_HW3), (1 / scale, 1 / scale))

    square = image.resize((side, side), Image.Resampling.BILINEAR)
    right_N4 = resized(Image.Resampling.BILINEAR)
    rows = {
        "nothing": right_N4,
        "ignored the EXIF orientation of a photo taken upright": lying(),
        "took the channels as blue, green, red": of_channels(lambda pixels: pixels[..., ::-1].copy()),
        "resized without a filter (nearest neighbour)": resized(Image.Resampling.NEAREST),
        "stretched the image to a square": found(square, (image.width / side, image.height / side)),
        "doubled the contrast, as another normalisation does": of_channels(
            lambda pixels: np.clip((pixels.astype(int) - 128) * 2 + 128, 0, 255).astype(np.uint8)
        ),
    }
    print(json.dumps({"image": [image.width, image.height], "faces": len(right_N4), "threshold": threshold}))
    for what, boxes_N4 in rows.items():
        again = overlaps(right_N4, boxes_N4) if len(boxes_N4) else np.zeros((len(right_N4), 1))
        best_N = again.argmax(axis=1)
        is_found_N = again.max(axis=1) >= 0.5
        off = np.abs(right_N4[is_found_N] - boxes_N4[best_N[is_found_N]]).max() if is_found_N.any() else float("nan")
        print(f"{what:<58}{is_found_N.sum():>4} of {len(right_N4)}   {off:6.1f} px")


if __name__ == "__main__":
    main()
