"""The program in docs/model-file.md, which does not use mlcycle, finds the same faces as mlcycle."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from tiny_model import GREEN, write_tiny_model

from mlcycle.inference.detect import load_detector

PAGE = Path(__file__).parents[2] / "docs" / "model-file.md"


@pytest.mark.skipif(not PAGE.is_file(), reason="no docs next to the tests")
def test_the_program_finds_the_same_faces_as_mlcycle(tmp_path: Path, astronaut: Path) -> None:
    [program] = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    (tmp_path / "program.py").write_text(program)
    model = write_tiny_model(tmp_path / "tiny.onnx", long_side=200)
    image = Image.open(astronaut).convert("RGB")
    image.paste(GREEN, (100, 120, 180, 220))
    path, exif = tmp_path / "photo.png", Image.Exif()
    exif[0x0112] = 6
    image.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    words = [sys.executable, "-I", tmp_path / "program.py", model, path]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    [line] = done.stdout.splitlines()
    record = load_detector(model).detect_file(path)
    expected = [*record.boxes_N4[0], record.scores_N[0]]
    assert [float(word) for word in line.split()] == pytest.approx([float(value) for value in expected], abs=0.06)
    assert abs(float(line.split()[0]) - 100) < 4
