"""A sealed model file → a folder that any static file server serves: a page that finds faces in the browser.

The page is plain HTML and JavaScript in `web_page/`, copied as it is; it reads the contract from the model file.
onnxruntime-web runs the graph; the user installs it from npm, because mlcycle downloads nothing.
"""

from __future__ import annotations

import json
import re
import shutil
from importlib import resources
from pathlib import Path

import onnx

from mlcycle.artifact.admission import admit
from mlcycle.artifact.contract import Contract
from mlcycle.artifact.seal import SealedBytes
from mlcycle.errors import InputError
from mlcycle.exporting.sidecar_files import write_sidecar_files

MODEL = "model.onnx"
# The page was tested with the last release of each minor version between these two.
OLDEST, NEWEST = "1.23.2", "1.30.0"
INSTALL = f"npm install onnxruntime-web@{NEWEST}"
# Files of the CPU build → their names in the folder. Some servers do not serve .mjs files as scripts.
_RUNTIME = {
    "ort.wasm.bundle.min.mjs": "ort.wasm.bundle.min.js",
    "ort-wasm-simd-threaded.wasm": "ort-wasm-simd-threaded.wasm",
}


def write(folder: Path, sealed: SealedBytes, contract: Contract, runtime: Path) -> None:
    """Writes the page, the model file unchanged, and the required files of onnxruntime-web into an empty folder.

    Args:
        folder: exists, and is empty.
        contract: of the model file; the README of the folder contains its name.
        runtime: the npm package onnxruntime-web: its folder, its `dist`, or the folder in which it is installed.

    Raises:
        InputError: the package is missing or incomplete, or the page was not tested with its version.
        ModelFileError: the model file is not an ONNX model, or the page would refuse it.
    """
    admit(sealed)
    package = _package(runtime)
    version = _version(package)
    _copy_runtime(package, folder / "onnxruntime-web", version)
    _copy_page(folder)
    (folder / MODEL).write_bytes(sealed.data)
    (folder / f"{MODEL}.sha256").write_text(f"{sealed.sha256}  {MODEL}\n", "utf-8")
    write_sidecar_files(folder, onnx.load_model_from_string(sealed.data), contract)
    (folder / "README.txt").write_text(_readme(sealed, contract, version), "utf-8")


def _package(runtime: Path) -> Path:
    places = (runtime, runtime.parent, runtime / "onnxruntime-web", runtime / "node_modules" / "onnxruntime-web")
    for folder in places:
        if (folder / "package.json").is_file() and (folder / "dist").is_dir():
            return folder
    raise InputError(f"no onnxruntime-web in {runtime}", f"{INSTALL}, then pass its folder")


def _version(package: Path) -> str:
    """Returns the version of the package, if the page supports it."""
    try:
        description = json.loads((package / "package.json").read_text("utf-8"))
        name, version = description["name"], description["version"]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{package / 'package.json'} cannot be read", INSTALL) from None
    if name != "onnxruntime-web":
        raise InputError(f"{package} holds {name}, not onnxruntime-web", INSTALL)
    if not _minor(OLDEST) <= _minor(version) <= _minor(NEWEST):
        raise InputError(
            f"{package} holds onnxruntime-web {version}; the page was tested with {OLDEST} to {NEWEST}", INSTALL
        )
    return version


def _minor(version: str) -> tuple[int, ...]:
    match = re.match(r"(\d+)\.(\d+)\.\d+$", version)  # pre-releases do not match
    return (int(match[1]), int(match[2])) if match else ()


def _copy_runtime(package: Path, folder: Path, version: str) -> None:
    folder.mkdir()
    for source, name in _RUNTIME.items():
        try:
            shutil.copyfile(package / "dist" / source, folder / name)
        except FileNotFoundError:
            raise InputError(f"onnxruntime-web {version} in {package} lacks dist/{source}", INSTALL) from None


def _copy_page(folder: Path) -> None:
    for file in (resources.files("mlcycle.exporting.formats") / "web_page").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())


def _readme(sealed: SealedBytes, contract: Contract, version: str) -> str:
    return f"""A page that finds faces in images, in the browser: no image leaves the machine.

Serve this folder with any file server, for example:

    python3 -m http.server --bind 127.0.0.1

(on Windows: py -m http.server --bind 127.0.0.1) and open http://localhost:8000.

model               {contract.name} ({contract.precision}), {MODEL}, written by mlcycle
sha256 of the file  {sealed.sha256}
runtime             onnxruntime-web {version}, under the licence in onnxruntime-web.LICENSE.txt
"""
