"""What is installed, by its metadata: nothing is imported, so that a broken package does no harm here."""

from __future__ import annotations

import platform
import re
import sys
from dataclasses import dataclass
from importlib import metadata

import mlcycle

# The extras of pyproject.toml that somebody may miss, what each is for, and its packages, the one that matters first.
EXTRAS: dict[str, tuple[str, tuple[str, ...]]] = {
    "heif": ("HEIC and HEIF images", ("pillow-heif",)),
    "video": ("videos", ("av",)),
    "parquet": ("results as Parquet", ("pyarrow",)),
    "ray": ("many machines", ("ray",)),
    "sign": ("signatures of model files", ("cryptography",)),
    "export": ("mlcycle export", ("onnx",)),
    "openvino": ("OpenVINO's own format", ("openvino", "onnx")),
    "evaluate": ("the official evaluation of WIDER FACE", ("scipy",)),
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
    "tensorboard": ("TensorBoard's event files", ("tensorboardx",)),
    "mlflow": ("mlcycle train log-mlflow", ("mlflow-skinny",)),
    "supervision": ("faces as supervision.Detections", ("supervision",)),
    "demo": ("sample images of mlcycle demo", ("scikit-image", "matplotlib")),
}

_RUNTIME = "onnxruntime"
_RUNTIME_FILE = "onnxruntime/__init__.py,"


@dataclass(frozen=True, slots=True)
class Extra:
    """An extra of mlcycle's.

    Attributes:
        name: as in `pip install 'mlcycle[heif]'`.
        purpose: what it is for, in words.
        packages: the version of each of its packages, None for one that is not installed.
    """

    name: str
    purpose: str
    packages: dict[str, str | None]

    @property
    def missing(self) -> list[str]:
        return [name for name, version in self.packages.items() if version is None]

    @property
    def install(self) -> str:
        return f"pip install 'mlcycle[{self.name}]'"


@dataclass(frozen=True, slots=True)
class Packages:
    """What is installed.

    Attributes:
        mlcycle, python: versions.
        executable: the Python that runs.
        numpy, pillow: versions, None where there is no metadata of them.
        runtimes: the version of each package that writes the folder onnxruntime; more than one is a trap.
        extras: in the order of EXTRAS.
    """

    mlcycle: str
    python: str
    executable: str
    numpy: str | None
    pillow: str | None
    runtimes: dict[str, str]
    extras: tuple[Extra, ...]


def look() -> Packages:
    """Returns what is installed for the Python that runs."""
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
    """Finds onnxruntime, onnxruntime-gpu and the like, but no package that only has such a name."""
    found: dict[str, str] = {}
    for each in metadata.distributions():
        # Half uninstalled packages have no metadata any more.
        told = re.search(r"^Name: *(\S+)", each.read_text("METADATA") or "", re.MULTILINE)
        name = re.sub(r"[-_.]+", "-", told[1] if told else "").lower()
        if name.startswith((_RUNTIME, "ort-")) and _writes_the_folder(each):
            found.setdefault(name, each.version)
    return dict(sorted(found.items()))


def _writes_the_folder(package: metadata.Distribution) -> bool:
    # Not package.files, which from Python 3.12 on leaves out files that are gone, as after a half uninstallation.
    record = package.read_text("RECORD")
    return record is None or any(line.startswith(_RUNTIME_FILE) for line in record.splitlines())
