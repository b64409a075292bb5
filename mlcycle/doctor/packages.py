"""The installed packages, from their metadata. Nothing is imported, so a broken package causes no error."""

from __future__ import annotations

import platform
import re
import sys
from dataclasses import dataclass
from importlib import metadata

import mlcycle
from mlcycle.distribution import install_command

# The extras of pyproject.toml: purpose, and packages, the most important one first.
EXTRAS: dict[str, tuple[str, tuple[str, ...]]] = {
    "heif": ("HEIC and HEIF images", ("pillow-heif",)),
    "video": ("videos", ("av",)),
    "parquet": ("results as Parquet", ("pyarrow",)),
    "serve": ("mlcycle serve", ("httptools", "prometheus-client", "starlette", "uvicorn", "uvloop")),
    "ray": ("inference and serving on a Ray cluster", ("ray",)),
    "sign": ("signatures of model files", ("cryptography",)),
    "export": ("mlcycle export", ("onnx",)),
    "openvino": ("export to OpenVINO", ("openvino", "onnx")),
    "evaluate": ("the official WIDER FACE metrics", ("scipy",)),
    "train": (
        "mlcycle train and freeze",
        (
            "torch",
            "torchvision",
            "onnx",
            "onnxscript",
            "safetensors",
            "pydantic",
            "filelock",
            "psutil",
            "scipy",
        ),
    ),
    "tensorboard": ("TensorBoard event files", ("tensorboardx",)),
    "mlflow": ("mlcycle train log-mlflow", ("mlflow-skinny",)),
    "supervision": ("faces as supervision.Detections", ("supervision",)),
    "demo": ("sample images of mlcycle demo", ("scikit-image", "matplotlib")),
    "lessons": ("the notebooks of docs/lessons", ("marimo",)),
}

_RUNTIME = "onnxruntime"
_RUNTIME_FILE = "onnxruntime/__init__.py,"


@dataclass(frozen=True, slots=True)
class Extra:
    """An extra of mlcycle.

    Attributes:
        name: as in pyproject.toml: "heif".
        purpose: what it is for.
        packages: package → installed version, or None.
    """

    name: str
    purpose: str
    packages: dict[str, str | None]

    @property
    def missing(self) -> list[str]:
        return [name for name, version in self.packages.items() if version is None]

    @property
    def install(self) -> str:
        return install_command(self.name)


@dataclass(frozen=True, slots=True)
class Packages:
    """The installed packages.

    Attributes:
        mlcycle, python: versions.
        executable: the running Python.
        numpy, pillow: versions, None without metadata.
        runtimes: package → version of each package that writes the folder onnxruntime; they overwrite each other.
        extras: in the order of EXTRAS.
    """

    mlcycle: str
    python: str
    executable: str
    numpy: str | None
    pillow: str | None
    runtimes: dict[str, str]
    extras: tuple[Extra, ...]


def inspect() -> Packages:
    """Returns the packages of the running Python."""
    return Packages(
        mlcycle=mlcycle.__version__,
        python=platform.python_version(),
        executable=sys.executable,
        numpy=_version("numpy"),
        pillow=_version("pillow"),
        runtimes=_runtimes(),
        extras=tuple(
            Extra(name, purpose, {each: _version(each) for each in packages})
            for name, (purpose, packages) in EXTRAS.items()
        ),
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except (metadata.PackageNotFoundError, KeyError):
        return None


def _runtimes() -> dict[str, str]:
    """Finds onnxruntime, onnxruntime-gpu and the like, but no other package with a similar name."""
    found: dict[str, str] = {}
    for each in metadata.distributions():
        # Partly uninstalled packages have no metadata.
        match = re.search(r"^Name: *(\S+)", each.read_text("METADATA") or "", re.MULTILINE)
        name = re.sub(r"[-_.]+", "-", match[1] if match else "").lower()
        if name.startswith((_RUNTIME, "ort-")) and _writes_onnxruntime(each):
            found.setdefault(name, each.version)
    return dict(sorted(found.items()))


def _writes_onnxruntime(package: metadata.Distribution) -> bool:
    # Not package.files, which from Python 3.12 on omits missing files, as after a partial uninstallation.
    record = package.read_text("RECORD")
    return record is None or any(line.startswith(_RUNTIME_FILE) for line in record.splitlines())
