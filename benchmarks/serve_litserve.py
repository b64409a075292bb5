"""A server as LitServe's documentation would have one write it, for serve.py; the model is that of serve_fastapi.py.

python serve_litserve.py MODEL.onnx PORT
"""

from __future__ import annotations

import os
import sys
from typing import Any

import litserve
from serve_fastapi import Model


class Api(litserve.LitAPI):  # at the top of a module: LitServe pickles it for its processes
    def setup(self, device: str) -> None:
        self.model = Model(sys.argv[1], threads=1)

    def decode_request(self, request):  # an annotation would be what FastAPI parses the body as
        return request["image"].file.read()  # LitServe takes JSON or a form, and no plain body

    def predict(self, data: bytes) -> dict[str, Any]:
        return self.model(data)

    def encode_response(self, output):
        return output


if __name__ == "__main__":
    server = litserve.LitServer(Api(), accelerator="cpu", workers_per_device=os.cpu_count() or 1, timeout=60)
    server.run(port=int(sys.argv[2]), host="127.0.0.1", log_level="warning", generate_client_file=False)
