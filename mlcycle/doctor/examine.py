"""The conductor of `mlcycle doctor`: examines the machine without judging the results. Read it top to bottom."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from mlcycle.doctor import image_formats, models, nvidia, packages, providers
from mlcycle.doctor.models import ModelFile
from mlcycle.doctor.providers import Probe
from mlcycle.machine import machine


@dataclass(frozen=True, slots=True)
class Examination:
    """The results of an examination.

    Attributes:
        requested: the provider that must run the model, by its short name, or "auto".
        model: the model file that `mlcycle infer` would use, with its problem if it is invalid.
        bundled: the bundled model files.
        variable: the value of MLCYCLE_MODEL.
        probed_model: the file with which providers were probed: `model`, or a bundled one if that is invalid, or None.
        probes: by requested provider; see mlcycle.doctor.providers.probe_all.
    """

    requested: str
    machine: machine.Machine
    packages: packages.Packages
    image_formats: image_formats.ImageFormats
    driver: nvidia.Driver
    variable: str | None
    model: ModelFile
    bundled: tuple[ModelFile, ...]
    probed_model: ModelFile | None
    probes: dict[str, Probe]

    @property
    def runtime(self) -> providers.Runtime | None:
        """Returns the onnxruntime that the probes imported, None if none could import it."""
        return next((probe.runtime for probe in self.probes.values() if probe.runtime), None)


def examine(path: Path | None, requested: str) -> Examination:
    """Examines the machine, the packages and the models, and probes each available provider.

    Args:
        path: the model file; None for the one that `mlcycle infer` would use.
        requested: the provider that must run it, by its short name, or "auto".
    """
    bundled = models.bundled_files()
    model, probed_model, probes = _probe(models.model_file(path), bundled, requested)
    return Examination(
        requested=requested,
        machine=machine.inspect(),
        packages=packages.inspect(),
        image_formats=image_formats.inspect(),
        driver=nvidia.inspect(),
        variable=models.variable(),
        model=model,
        bundled=bundled,
        probed_model=probed_model,
        probes=probes,
    )


def _probe(
    model: ModelFile, bundled: tuple[ModelFile, ...], requested: str
) -> tuple[ModelFile, ModelFile | None, dict[str, Probe]]:
    """Probes providers with the model file, or with a bundled one if it is invalid.

    Returns the model file, with the problem that loading it revealed; the file that was used; and the probes.
    """
    for file in (model, *bundled):
        if file.problem:
            continue
        first = providers.probe("cpu", file.path)
        if first.failure is None or first.failure.blames != "model":
            return model, file, providers.probe_all(first, file.path, requested)
        if file is model:
            model = replace(model, problem=(first.failure.message, first.failure.hint))
    return model, None, {}
