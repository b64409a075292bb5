"""What was found, judged: rows that people read, and the exit code."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from mlcycle.doctor.providers import BRINGS
from mlcycle.errors import DeviceError, MlcycleError, ModelFileError

if TYPE_CHECKING:
    from mlcycle.doctor.examine import Examination
    from mlcycle.doctor.packages import Extra
    from mlcycle.doctor.providers import Trial

# What "auto" never takes, so that it need not work.
ONLY_ASKED = ("tensorrt",)


class Level(StrEnum):
    """A row's mark: fine, plain fact, not here and not missed, to be looked at, and what ends with another code."""

    ok = "ok"
    fact = ""
    absent = "-"
    warning = "warning"
    problem = "problem"


@dataclass(frozen=True, slots=True)
class Row:
    """One line for people: a mark, a name, what is so, and what to do about it, if anything."""

    level: Level
    name: str
    text: str
    hint: str = ""

    @property
    def counts(self) -> bool:
        """Returns whether it is a finding, and not only a fact."""
        return self.level in (Level.warning, Level.problem)


def sections(found: Examination) -> dict[str, list[Row]]:
    """Returns all rows by the heading they stand under."""
    return {
        "Providers": list(_providers(found)),
        "Models": list(_models(found)),
        "Packages": list(_packages(found)),
        "Images": list(_images(found)),
        "Extras": [_extra(each) for each in found.packages.extras],
        "Machine": list(_machine(found)),
    }


def error(found: Examination) -> MlcycleError | None:
    """Returns what keeps the model from answering: a ModelFileError or a DeviceError, or None."""
    if found.answers.trouble:
        return ModelFileError(*found.answers.trouble)
    failure = found.trials[found.wanted].failure
    return DeviceError(failure.sentence, _advice(found, found.trials[found.wanted])) if failure else None


def _providers(found: Examination) -> Iterator[Row]:
    if not found.trials:
        yield Row(Level.absent, "all", "not tried, since no model file is whole")
    elif found.answers.trouble and found.tried:
        yield Row(Level.fact, "model", f"tried with {found.tried.name}, since the one that would answer is not whole")
    for name in ("auto", *BRINGS) if found.trials else ():
        trial = found.trials.get(name)
        if _is_there(found, name):
            if trial is not None:
                yield _tried(found, trial)
        else:
            yield _absent(found, name)


def _is_there(found: Examination, name: str) -> bool:
    """Returns whether a provider is in this onnxruntime; also True where that is not known."""
    return name == "auto" or found.runtime is None or name in found.runtime.available


def _tried(found: Examination, trial: Trial) -> Row:
    if trial.failure is None:
        said = f"takes {trial.took}" if trial.asked == "auto" else f"runs {trial.name} ({trial.precision})"
        return Row(Level.ok, trial.asked, said)
    text = trial.failure.sentence
    if trial.asked == "cuda":
        text += f"; {found.driver.sentence}"
    if trial.asked == found.wanted:
        level = Level.problem
    else:
        level = Level.absent if trial.asked in ONLY_ASKED else Level.warning
    return Row(level, trial.asked, text, _advice(found, trial))


def _absent(found: Examination, name: str) -> Row:
    text = f"not in this onnxruntime; {BRINGS[name]} brings it"
    if name == "cuda":
        text += f"; {found.driver.sentence}"
    if name == found.wanted:
        return Row(Level.problem, name, text, _instead(found, name))
    if name == "cuda" and found.driver.here:
        return Row(Level.warning, name, text, _instead(found, name))
    return Row(Level.absent, name, text)


def _advice(found: Examination, trial: Trial) -> str:
    """Returns what to do about a trial that failed."""
    assert trial.failure is not None
    runtimes = found.packages.runtimes
    if trial.failure.blames == "packages" and len(runtimes) > 1:
        return _one_of(runtimes)
    if trial.failure.blames == "packages":
        return f"pip install --force-reinstall {_names(runtimes)} numpy pillow"
    if not _is_there(found, trial.asked):
        return _instead(found, trial.asked)
    cpu_runs = found.trials["cpu"].failure is None
    return trial.failure.hint or ("ask for --provider cpu" if cpu_runs else "")


def _instead(found: Examination, name: str) -> str:
    """Returns how the package that brings a provider takes the place of what is there."""
    if name == "coreml":
        return "CoreML is on macOS alone"
    return f"pip uninstall {_names(found.packages.runtimes)}, then pip install {BRINGS[name]}"


def _one_of(runtimes: dict[str, str]) -> str:
    """Returns how one of several packages that overwrite each other is made whole."""
    special = next(name for name in runtimes if name != "onnxruntime")
    return f"pip uninstall {_names(runtimes)}, then pip install {special}, or whichever is wanted"


def _names(runtimes: dict[str, str]) -> str:
    return " ".join(runtimes) or "onnxruntime"


def _models(found: Examination) -> Iterator[Row]:
    answers = found.answers
    said = f"{answers.name} ({answers.chosen})"
    if answers.trouble:
        begins = f"{answers.path} "
        colon = "" if answers.trouble[0].startswith(begins) else ":"
        text = f"{said}{colon} {answers.trouble[0].removeprefix(begins)}"
        yield Row(Level.problem, "answers", text, answers.trouble[1])
    else:
        yield Row(Level.ok, "answers", f"{said}, verified, sha256 {(answers.sha256 or '')[:12]}")
    for each in found.bundled:
        if each.trouble:
            yield Row(Level.warning, each.name, each.trouble[0], "pip install --force-reinstall --no-deps mlcycle")
        else:
            yield Row(Level.ok, each.name, f"comes with mlcycle, verified, sha256 {(each.sha256 or '')[:12]}")
    if found.variable:
        yield Row(Level.fact, "MLCYCLE_MODEL", found.variable)


def _packages(found: Examination) -> Iterator[Row]:
    packages = found.packages
    yield Row(Level.fact, "mlcycle", packages.mlcycle)
    yield Row(Level.fact, "Python", f"{packages.python}, {packages.executable}")
    yield _runtimes(found)
    yield Row(Level.fact, "numpy", packages.numpy or "not found")
    yield Row(Level.fact, "Pillow", packages.pillow or "not found")


def _runtimes(found: Examination) -> Row:
    there, runtime = found.packages.runtimes, found.runtime
    said = " and ".join(f"{name} {version}" for name, version in there.items()).removeprefix("onnxruntime ")
    if len(there) > 1:
        files = f"; its files are those of {runtime.package} now" if runtime and runtime.package else ""
        text = f"{' and '.join(there)} are installed together, and one has overwritten the other{files}"
        return Row(Level.warning, "onnxruntime", text, _one_of(there))
    if runtime is None:
        return Row(Level.fact, "onnxruntime", said or "not found")
    built = f", built for CUDA {runtime.cuda}" if runtime.cuda else ""
    return Row(Level.ok, "onnxruntime", f"{said or runtime.version}{built}")


def _images(found: Examination) -> Iterator[Row]:
    image_formats = found.image_formats
    if image_formats.problem:
        hint = "pip install --force-reinstall pillow"
        yield Row(Level.warning, "Pillow", f"cannot be imported: {image_formats.problem}", hint)
        return
    for name, version in image_formats.decoders.items():
        if version is None:
            yield Row(Level.warning, name, "this Pillow does not read it", "pip install --force-reinstall pillow")
        elif name != "JPEG":
            yield Row(Level.ok, name, version)
        elif image_formats.turbo is None:
            text = f"decoded by libjpeg {version}, not by libjpeg-turbo, which is several times as fast"
            yield Row(Level.warning, name, text, "pip install --force-reinstall pillow")
        else:
            yield Row(Level.ok, name, f"libjpeg-turbo {image_formats.turbo}")


def _extra(extra: Extra) -> Row:
    there = [f"{name} {version}" for name, version in extra.packages.items() if version]
    if not extra.missing:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        return Row(Level.ok, extra.name, f"{there[0]}{more}, for {extra.purpose}")
    lacks = f"; {', '.join(extra.missing)} not there" if there else ""
    return Row(Level.absent, extra.name, f"{extra.install} for {extra.purpose}{lacks}")


def _machine(found: Examination) -> Iterator[Row]:
    machine = found.machine
    yield Row(Level.fact, "system", machine.system)
    yield Row(Level.fact, "processor", machine.processor or "not known")
    yield _bytes(found)
    yield _cores(found)
    memory = machine.memory
    said = [f"{_gigabytes(memory.total_bytes)} in all"]
    said += [f"{_gigabytes(memory.available_bytes)} free for use"] if memory.available_bytes else []
    said += [f"this process may use {_gigabytes(memory.limit_bytes)}"] if memory.limit_bytes else []
    yield Row(Level.fact, "memory", ", ".join(said))
    yield Row(Level.fact, "NVIDIA", found.driver.sentence)


def _bytes(found: Examination) -> Row:
    instructions = found.machine.int8_instructions
    if instructions is None:
        return Row(Level.fact, "bytes", "whether the processor multiplies bytes is not known")
    if instructions:
        return Row(Level.ok, "bytes", f"the processor multiplies bytes ({', '.join(instructions)})")
    int8 = found.trials.get("cpu") is not None and found.trials["cpu"].precision == "int8"
    text = "the processor does not multiply bytes: int8 models are slower here, and may answer a little worse"
    return Row(Level.warning if int8 else Level.fact, "bytes", text)


def _cores(found: Examination) -> Row:
    cores = found.machine.cores
    text = f"{cores.allowed} of {cores.machine} may be used"
    if cores.quota is not None:
        text += f", for {cores.quota:g} cores' time"
    cpu = found.trials.get("cpu")
    if cpu is None or cpu.threads is None or cpu.threads <= math.ceil(cores.usable):
        return Row(Level.ok, "cores", text)
    text += f"; the model is run by {cpu.threads} threads all the same"
    return Row(Level.warning, "cores", text, f"mlcycle infer --threads {max(1, int(cores.usable))}")


def _gigabytes(count: int | None) -> str:
    return "not known" if count is None else f"{count / 2**30:.1f} GiB"
