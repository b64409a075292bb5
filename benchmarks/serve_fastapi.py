"""A server as FastAPI's documentation would have one write it, for serve.py.

    python serve_fastapi.py MODEL.onnx PORT

It decodes with Pillow, resizes as the model's contract says, and runs the model file in onnxruntime.
"""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


class Model:
    """The model file, and the steps around it.

    Args:
        threads: of onnxruntime for one image; 0 leaves it to onnxruntime.
    """

    def __init__(self, path: str, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        contract = json.loads(self.session.get_modelmeta().custom_metadata_map["mlcycle.contract"])
        self.long_side, self.threshold = contract["resize"]["long_side"], contract["thresholds"]["balanced"]

    def __call__(self, data: bytes) -> dict[str, Any]:
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
        scale = min(1.0, self.long_side / max(image.size))
        small = image.resize([max(1, int(side * scale + 0.5)) for side in image.size], Image.Resampling.BILINEAR)
        boxes, scores = self.session.run(["boxes", "scores"], {"images": np.asarray(small)[None]})
        faces = [
            {"box": (box / scale).tolist(), "score": float(score)}
            for box, score in zip(boxes[0], scores[0], strict=True)
            if score >= self.threshold
        ]
        return {"faces": faces}


def fastapi(path: str, port: int) -> None:
    import uvicorn
    from fastapi import Body, FastAPI

    app, model = FastAPI(), Model(path, threads=1)

    @app.get("/health")
    def health() -> dict[str, bool]:
        return {"ok": True}

    # `def` and not `async def`: FastAPI then calls it in a thread.
    @app.post("/detect")
    def detect(data: bytes = Body(media_type="image/jpeg")) -> dict[str, Any]:
        return model(data)

    uvicorn.run(app, port=port, log_level="warning")


if __name__ == "__main__":
    fastapi(sys.argv[1], int(sys.argv[2]))
