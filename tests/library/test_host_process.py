"""A library is a guest: whatever it is used for, the process around it stays as it was. Only onnxruntime's telemetry,
which would leave the machine, is switched off."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import environment

pytest.importorskip("skimage")

# Everything of a process that a package is known to change.
STATE = """
import faulthandler, gc, locale, logging, os, random, signal, socket, sys, threading, warnings
import numpy, onnxruntime
from PIL import Image, ImageFile
from skimage import data

data.astronaut()  # which brings more packages

severities = []
onnxruntime.set_default_logger_severity = severities.append


def state():
    loggers = [logging.getLogger(), *map(logging.getLogger, list(logging.root.manager.loggerDict))]
    umask = os.umask(0)
    os.umask(umask)
    return {
        "warnings": list(map(repr, warnings.filters)),
        "showwarning": repr(warnings.showwarning),
        "signals": [repr(signal.getsignal(each)) for each in sorted(signal.valid_signals())],
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "umask": umask,
        "streams": [id(sys.stdin), id(sys.stdout), id(sys.stderr), id(sys.excepthook), id(threading.excepthook)],
        "interpreter": [sys.getrecursionlimit(), sys.getswitchinterval(), gc.isenabled(), gc.get_threshold(),
                        sys.dont_write_bytecode, len(sys.meta_path), sys.path[:]],
        "faulthandler": faulthandler.is_enabled(),
        "locale": locale.setlocale(locale.LC_ALL),
        "sockets": socket.getdefaulttimeout(),
        "loggers": [(each.name, each.level, len(each.handlers)) for each in loggers if each.level or each.handlers],
        "pillow": [Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, ImageFile.MAXBLOCK],
        "numpy": [numpy.geterr(), numpy.random.get_state()[1].tolist(), numpy.get_printoptions()],
        "random": repr(random.getstate()),
        "onnxruntime": severities[:],
        "threads": threading.active_count(),
    }
"""
USE = """
import io, json

before = state()
import mlcycle
from mlcycle import *
assert os.environ.pop("ORT_DISABLE_TELEMETRY") == "1"
model = mlcycle.load("face-nano", provider="cpu")
portrait = Image.fromarray(data.astronaut())
photo = os.path.join(sys.argv[1], "images", "astronaut.png")
os.makedirs(os.path.dirname(photo))
portrait.save(photo)
labels = {"images": [{"id": 1, "file_name": "astronaut.png", "width": 512, "height": 512}],
          "categories": [{"id": 1, "name": "face"}],
          "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [178, 60, 91, 117]}]}
with open(os.path.join(sys.argv[1], "annotations.json"), "w") as file:
    json.dump(labels, file)


def encoded(format, **options):
    stream = io.BytesIO()
    portrait.save(stream, format, **options)
    return stream.getvalue()


files = [encoded(format) for format in ("JPEG", "PNG", "TIFF", "WEBP", "GIF", "ICO", "BMP", "JPEG2000")]
broken = [each[: len(each) // 2] for each in files] + [b"", b"nothing", None, "missing.jpg"]
faces = model(photo)
faces.draw(), faces.redact("pixelate"), faces.crops(align=True), faces._repr_png_(), faces.to_dict()
list(model.stream([*files, *broken, portrait, data.astronaut()], workers=3, max_pixels=10**6))
model.bench(os.path.dirname(photo), seconds=0.1, warmup=0.0)
mlcycle.evaluate(model, sys.argv[1], workers=2)
after = state()
changed = {name: [before[name], after[name]] for name in before if before[name] != after[name]}
print(json.dumps(changed, default=repr))
"""


def changed_by(program: str, *arguments: str) -> dict[str, object]:
    inherited = environment()
    inherited.pop("ORT_DISABLE_TELEMETRY", None)
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=inherited, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_using_the_library_changes_nothing_of_the_process(tmp_path: Path) -> None:
    assert changed_by(STATE + USE, str(tmp_path)) == {}


def test_what_would_change_it_is_seen(astronaut: Path) -> None:
    """The command line does change its own process, which the same check detects."""
    program = """
import json
before = state()
from mlcycle.cli import run
assert run(["infer", sys.argv[1], "--max-pixels", "1000000"]) == 0
after = state()
print(json.dumps([name for name in before if before[name] != after[name]]))
"""
    changed = changed_by(STATE + program, str(astronaut))
    assert set(changed) >= {"warnings", "environment", "onnxruntime", "pillow", "loggers"}


@pytest.mark.slow
def test_what_a_program_has_set_for_itself_stays(tmp_path: Path) -> None:
    program = """
import json, logging, signal, warnings
from PIL import Image
Image.MAX_IMAGE_PIXELS = None
warnings.simplefilter("error", Image.DecompressionBombWarning)
signal.signal(signal.SIGTERM, lambda *_: None)
handler = signal.getsignal(signal.SIGTERM)
import mlcycle
model = mlcycle.load("face-nano")
assert len(model(Image.new("RGB", (12000, 9000)))) == 0
assert Image.MAX_IMAGE_PIXELS is None and signal.getsignal(signal.SIGTERM) is handler
Image.MAX_IMAGE_PIXELS = 1000
(refused,) = model.stream([__import__("sys").argv[1]])
assert refused.error.code == "too-large", refused.error
assert Image.MAX_IMAGE_PIXELS == 1000
print(json.dumps({}))
"""
    from PIL import Image

    Image.new("RGB", (40, 30)).save(tmp_path / "small.png")
    assert changed_by(program, str(tmp_path / "small.png")) == {}
