"""The conductor of `mlcycle doctor`: it looks at everything, and judges nothing; reads from top to bottom."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from mlcycle.doctor import image_formats, models, nvidia, packages, providers
from mlcycle.doctor.models import ModelFile
from mlcycle.doctor.providers import Trial
from mlcycle.machine import machine


@dataclass(frozen=True, slots=True)
class Examination:
    """All that was found.

    Attributes:
        wanted: the provider that must run the model, by its short name, or "auto".
        answers: the model file that would answer, with what is wrong with it.
        bundled: those that come with mlcycle.
        variable: what MLCYCLE_MODEL says.
        tried: the file that providers were tried with: `answers`, or a bundled one where that is not whole, or None.
        trials: by what was asked for; see mlcycle.doctor.providers.try_all.
    """

    wanted: str
    machine: machine.Machine
    packages: packages.Packages
    image_formats: image_formats.ImageFormats
    driver: nvidia.Driver
    variable: str | None
    answers: ModelFile
    bundled: tuple[ModelFile, ...]
    tried: ModelFile | None
    trials: dict[str, Trial]

    @property
    def runtime(self) -> providers.Runtime | None:
        """Returns the onnxruntime that the trials imported, None where none could."""
        return next((trial.runtime for trial in self.trials.values() if trial.runtime), None)


def examine(named: Path | None, wanted: str) -> Examination:
    """Looks at the machine, the packages and the models, and tries each provider that is there.

    Args:
        named: the model file to look at; None: the one that would answer.
        wanted: the provider that must run it, by its short name, or "auto".
    """
    bundled = models.coming_with_mlcycle()
    answers, tried, trials = _try(models.answering(named), bundled, wanted)
    return Examination(
        wanted=wanted,
        machine=machine.inspect(),
        packages=packages.look(),
        image_formats=image_formats.look(),
        driver=nvidia.look(),
        variable=models.variable(),
        answers=answers,
        bundled=bundled,
        tried=tried,
        trials=trials,
    )


def _try(
    answers: ModelFile, bundled: tuple[ModelFile, ...], wanted: str
) -> tuple[ModelFile, ModelFile | None, dict[str, Trial]]:
    """Tries providers with the file that would answer, or, where it is not whole, with a bundled one that is.

    Returns the file that would answer, with what loading it told, the file that was tried, and the trials.
    """
    for file in (answers, *bundled):
        if file.trouble:
            continue
        first = providers.attempt("cpu", file.path)
        if first.failure is None or first.failure.blames != "model":
            return answers, file, providers.try_all(first, file.path, wanted)
        if file is answers:
            answers = replace(answers, trouble=(first.failure.message, first.failure.hint))
    return answers, None, {}
