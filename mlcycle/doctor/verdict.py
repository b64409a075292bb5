"""Judges an examination: the rows of the page, and the exit code."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from mlcycle.counted import counted
from mlcycle.distribution import install_command
from mlcycle.doctor.providers import PACKAGES
from mlcycle.errors import DeviceError, MlcycleError, ModelFileError

if TYPE_CHECKING:
    from mlcycle.doctor.examine import Examination
    from mlcycle.doctor.packages import Extra
    from mlcycle.doctor.providers import Probe

# Providers that "auto" never uses; their failures are no warnings.
NEVER_AUTOMATIC = ("tensorrt",)


class Level(StrEnum):
    """The mark of a row: fine, a fact, absent and not needed, a warning, or a problem that changes the exit code."""

    ok = "ok"
    fact = ""
    absent = "-"
    warning = "warning"
    problem = "problem"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the page: a mark, a name, a text, and a hint or ""."""

    level: Level
    name: str
    text: str
    hint: str = ""

    @property
    def counts(self) -> bool:
        """Returns whether the row is a finding: a warning or a problem."""
        return self.level in (Level.warning, Level.problem)


def sections(found: Examination) -> dict[str, list[Row]]:
    """Returns all rows by heading."""
    return {
        "Providers": list(_providers(found)),
        "Models": list(_models(found)),
        "Packages": list(_packages(found)),
        "Images": list(_images(found)),
        "Extras": [_extra(each) for each in found.packages.extras],
        "Machine": list(_machine(found)),
    }


def error(found: Examination) -> MlcycleError | None:
    """Returns the reason why the model does not run, a ModelFileError or a DeviceError, or None."""
    if found.model.problem:
        return ModelFileError(*found.model.problem)
    failure = found.probes[found.requested].failure
    return DeviceError(failure.sentence, _hint(found, found.probes[found.requested])) if failure else None


def _providers(found: Examination) -> Iterator[Row]:
    if not found.probes:
        yield Row(Level.absent, "all", "not probed: no valid model file")
    elif found.model.problem and found.probed_model:
        yield Row(Level.fact, "model", f"probed with {found.probed_model.name}: the model file is invalid")
    for name in ("auto", *PACKAGES) if found.probes else ():
        probe = found.probes.get(name)
        if _is_available(found, name):
            if probe is not None:
                yield _probed(found, probe)
        else:
            yield _absent(found, name)


def _is_available(found: Examination, name: str) -> bool:
    """Returns whether this onnxruntime has a provider; True if unknown."""
    return name == "auto" or found.runtime is None or name in found.runtime.available


def _probed(found: Examination, probe: Probe) -> Row:
    if probe.failure is None:
        text = f"uses {probe.loaded_on}" if probe.requested == "auto" else f"runs {probe.name} ({probe.precision})"
        return Row(Level.ok, probe.requested, text)
    text = probe.failure.sentence
    if probe.requested == "cuda":
        text += f"; {found.driver.sentence}"
    if probe.requested == found.requested:
        level = Level.problem
    else:
        level = Level.absent if probe.requested in NEVER_AUTOMATIC else Level.warning
    return Row(level, probe.requested, text, _hint(found, probe))


def _absent(found: Examination, name: str) -> Row:
    text = f"not in this onnxruntime; install {PACKAGES[name]}"
    if name == "cuda":
        text += f"; {found.driver.sentence}"
    if name == found.requested:
        return Row(Level.problem, name, text, _instead(found, name))
    if name == "cuda" and found.driver.found:
        return Row(Level.warning, name, text, _instead(found, name))
    return Row(Level.absent, name, text)


def _hint(found: Examination, probe: Probe) -> str:
    """Returns what to do about a failed probe."""
    assert probe.failure is not None
    runtimes = found.packages.runtimes
    if probe.failure.blames == "packages" and len(runtimes) > 1:
        return _one_of(runtimes)
    if probe.failure.blames == "packages":
        return f"pip install --force-reinstall {_names(runtimes)} numpy pillow"
    if not _is_available(found, probe.requested):
        return _instead(found, probe.requested)
    cpu_runs = found.probes["cpu"].failure is None
    return probe.failure.hint or ("use --provider cpu" if cpu_runs else "")


def _instead(found: Examination, name: str) -> str:
    """Returns how to replace the installed package by the one with this provider."""
    if name == "coreml":
        return "CoreML needs macOS"
    return f"pip uninstall {_names(found.packages.runtimes)}, then pip install {PACKAGES[name]}"


def _one_of(runtimes: dict[str, str]) -> str:
    """Returns how to repair packages that have overwritten each other."""
    special = next(name for name in runtimes if name != "onnxruntime")
    return f"pip uninstall {_names(runtimes)}, then pip install {special}, or the one you need"


def _names(runtimes: dict[str, str]) -> str:
    return " ".join(runtimes) or "onnxruntime"


def _models(found: Examination) -> Iterator[Row]:
    model = found.model
    name = f"{model.name} ({model.chosen})"
    if model.problem:
        start = f"{model.path} "
        colon = "" if model.problem[0].startswith(start) else ":"
        text = f"{name}{colon} {model.problem[0].removeprefix(start)}"
        yield Row(Level.problem, "used", text, model.problem[1])
    else:
        yield Row(Level.ok, "used", f"{name}, verified, sha256 {(model.sha256 or '')[:12]}")
    for each in found.bundled:
        if each.problem:
            again = install_command("", "--force-reinstall", "--no-deps")
            yield Row(Level.warning, each.name, each.problem[0], again)
        else:
            yield Row(Level.ok, each.name, f"bundled, verified, sha256 {(each.sha256 or '')[:12]}")
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
    installed, runtime = found.packages.runtimes, found.runtime
    versions = " and ".join(f"{name} {version}" for name, version in installed.items()).removeprefix("onnxruntime ")
    if len(installed) > 1:
        files = f"; the files are now those of {runtime.package}" if runtime and runtime.package else ""
        text = f"{' and '.join(installed)} are both installed and overwrite each other{files}"
        return Row(Level.warning, "onnxruntime", text, _one_of(installed))
    if runtime is None:
        return Row(Level.fact, "onnxruntime", versions or "not found")
    built = f", built for CUDA {runtime.cuda}" if runtime.cuda else ""
    return Row(Level.ok, "onnxruntime", f"{versions or runtime.version}{built}")


def _images(found: Examination) -> Iterator[Row]:
    image_formats = found.image_formats
    if image_formats.problem:
        hint = "pip install --force-reinstall pillow"
        yield Row(Level.warning, "Pillow", f"cannot be imported: {image_formats.problem}", hint)
        return
    for name, version in image_formats.decoders.items():
        if version is None:
            yield Row(Level.warning, name, "not supported by this Pillow", "pip install --force-reinstall pillow")
        elif name != "JPEG":
            yield Row(Level.ok, name, version)
        elif image_formats.turbo is None:
            text = f"decoded by libjpeg {version}, not by libjpeg-turbo, which is several times faster"
            yield Row(Level.warning, name, text, "pip install --force-reinstall pillow")
        else:
            yield Row(Level.ok, name, f"libjpeg-turbo {image_formats.turbo}")
    if image_formats.resize == "compiled":
        yield Row(Level.ok, "resize", "compiled")
    else:
        yield Row(Level.fact, "resize", "by Pillow, three times as long: mlcycle was installed without a C compiler")


def _extra(extra: Extra) -> Row:
    installed = [f"{name} {version}" for name, version in extra.packages.items() if version]
    if not extra.missing:
        more = f" and {len(installed) - 1} more" if len(installed) > 1 else ""
        return Row(Level.ok, extra.name, f"{installed[0]}{more}, for {extra.purpose}")
    missing = f"; {', '.join(extra.missing)} missing" if installed else ""
    return Row(Level.absent, extra.name, f"{extra.install} for {extra.purpose}{missing}")


def _machine(found: Examination) -> Iterator[Row]:
    machine = found.machine
    yield Row(Level.fact, "system", machine.system)
    yield Row(Level.fact, "processor", machine.processor or "unknown")
    yield _int8(found)
    yield _cores(found)
    memory = machine.memory
    amounts = [f"{_gigabytes(memory.total_bytes)} in total"]
    amounts += [f"{_gigabytes(memory.available_bytes)} available"] if memory.available_bytes else []
    amounts += [f"limit of this process {_gigabytes(memory.limit_bytes)}"] if memory.limit_bytes else []
    yield Row(Level.fact, "memory", ", ".join(amounts))
    yield Row(Level.fact, "NVIDIA", found.driver.sentence)


def _int8(found: Examination) -> Row:
    instructions = found.machine.int8_instructions
    if instructions is None:
        return Row(Level.fact, "int8", "unknown whether the processor has int8 dot-product instructions")
    if instructions:
        return Row(Level.ok, "int8", f"the processor has int8 dot-product instructions ({', '.join(instructions)})")
    cpu = found.probes.get("cpu")
    text = (
        "the processor has no int8 dot-product instructions: int8 models are slower and can be slightly less accurate"
    )
    return Row(Level.warning if cpu is not None and cpu.precision == "int8" else Level.fact, "int8", text)


def _cores(found: Examination) -> Row:
    cores = found.machine.cores
    text = f"{cores.allowed} of {cores.machine} usable"
    if cores.quota is not None:
        text += f", CPU limit {counted(cores.quota, 'core')}"
    cpu = found.probes.get("cpu")
    if cpu is None or cpu.threads is None or cpu.threads <= math.ceil(cores.usable):
        return Row(Level.ok, "cores", text)
    text += f"; the model runs with {counted(cpu.threads, 'thread')}"
    return Row(Level.warning, "cores", text, f"mlcycle infer --threads {max(1, int(cores.usable))}")


def _gigabytes(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 2**30:.1f} GiB"
