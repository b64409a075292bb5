"""The trace: the output of every stage of `infer` for an image, in a process without torch."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
from conftest import environment
from PIL import Image

pytest_plugins = ("tiny_album",)


def traced(tmp_path: Path, model: Path, *images: Path) -> list[dict[str, np.ndarray]]:
    listed = tmp_path / "list.txt"
    listed.write_text("\0".join(str(path) for path in images))
    command = [sys.executable, "-m", "mlcycle.inference.trace", model, listed, tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return [dict(np.load(path)) for path in sorted((tmp_path / "out").iterdir())]


def test_every_stage_is_written_and_a_bad_image_has_its_error(
    tmp_path: Path, album: Path, tiny: Path, pixels: np.ndarray
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = tmp_path / "turned.png"
    Image.fromarray(pixels).save(turned, exif=exif)
    bad, good = traced(tmp_path, tiny, album / "broken.jpg", turned)
    assert {key: str(value) for key, value in bad.items()} == {"error": "not-an-image"}
    assert str(good["decode_sha256"]) == hashlib.sha256(pixels.tobytes()).hexdigest()
    assert good["decode_shape"].tolist() == [400, 512, 3]
    upright_HW3 = np.rot90(pixels, -1)
    assert str(good["upright_sha256"]) == hashlib.sha256(upright_HW3.tobytes()).hexdigest()
    assert (good["resized"] == upright_HW3).all()
    assert good["graph_boxes"].tolist() == good["boxes"].tolist() == [[250, 300, 360, 380]]
    assert good["scores"].tolist() == [1]
    assert good["landmarks"].shape == good["graph_landmarks"].shape == (1, 5, 2)


def test_a_process_with_torch_is_refused(tmp_path: Path, tiny: Path) -> None:
    program = (
        "import sys, types; sys.modules['torch'] = types.ModuleType('torch')\n"
        "from mlcycle.inference import trace\n"
        f"sys.argv = ['trace', {str(tiny)!r}, '/dev/null', {str(tmp_path / 'out')!r}]\n"
        "sys.exit(trace.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment()
    )
    assert done.returncode == 1
    assert "torch" in done.stderr
