"""mlcycle: train a face detector, freeze it into one file, run that file anywhere.

    import mlcycle

    model = mlcycle.load("face-nano")
    faces = model("photo.jpg")
    faces.boxes, faces.scores, faces.landmarks

Names are loaded when they are first used: importing mlcycle brings neither numpy, Pillow and onnxruntime, which
inference needs, nor torch, which training needs. docs/library.md describes all of them.
"""

import os

__version__ = "0.1.0"

# onnxruntime reports each start to its developers, over the network and in a file in the user's cache, unless this is
# set before anything imports it. Its own switch, disable_telemetry_events, comes too late for that. It is all that
# the library changes in the process that imports it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# As typing.TYPE_CHECKING, without the time that importing typing takes.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from mlcycle.artifact.contract import Contract
    from mlcycle.errors import (
        DataError,
        DeviceError,
        GateError,
        InputError,
        Interrupted,
        MissingExtraError,
        MlcycleError,
        ModelFileError,
        RecipeError,
        TrainingDivergedError,
        UnreadableError,
        UsageError,
    )
    from mlcycle.library.evaluate import Evaluation, evaluate
    from mlcycle.library.export import export
    from mlcycle.library.faces import Face, Faces
    from mlcycle.library.freeze import freeze
    from mlcycle.library.inputs import ImageInput
    from mlcycle.library.model import Model, load
    from mlcycle.library.train import train
    from mlcycle.results import Exported, Frozen, Run

__all__ = [
    "Contract",
    "DataError",
    "DeviceError",
    "Evaluation",
    "Exported",
    "Face",
    "Faces",
    "Frozen",
    "GateError",
    "ImageInput",
    "InputError",
    "Interrupted",
    "MissingExtraError",
    "MlcycleError",
    "Model",
    "ModelFileError",
    "RecipeError",
    "Run",
    "TrainingDivergedError",
    "UnreadableError",
    "UsageError",
    "__version__",
    "evaluate",
    "export",
    "freeze",
    "load",
    "train",
]

# Where each name comes from: a literal, since making it would take its time at every import.
_MODULES = {
    "mlcycle.artifact.contract": ("Contract",),
    "mlcycle.errors": (
        "DataError",
        "DeviceError",
        "GateError",
        "InputError",
        "Interrupted",
        "MissingExtraError",
        "MlcycleError",
        "ModelFileError",
        "RecipeError",
        "TrainingDivergedError",
        "UnreadableError",
        "UsageError",
    ),
    "mlcycle.library.evaluate": ("Evaluation", "evaluate"),
    "mlcycle.library.export": ("export",),
    "mlcycle.library.faces": ("Face", "Faces"),
    "mlcycle.library.freeze": ("freeze",),
    "mlcycle.library.inputs": ("ImageInput",),
    "mlcycle.library.model": ("Model", "load"),
    "mlcycle.library.train": ("train",),
    "mlcycle.results": ("Exported", "Frozen", "Run"),
}

if not TYPE_CHECKING:  # else a type checker would believe that every name is there

    def __getattr__(name: str) -> object:
        module = next((module for module, names in _MODULES.items() if name in names), None)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(module), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
