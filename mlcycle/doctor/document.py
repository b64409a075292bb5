"""The JSON document of an examination. Keys keep their names; new ones can be added."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mlcycle.doctor.providers import PACKAGES

if TYPE_CHECKING:
    from mlcycle.doctor.examine import Examination
    from mlcycle.doctor.models import ModelFile
    from mlcycle.doctor.verdict import Row

SCHEMA_VERSION = 2


def as_json(found: Examination, sections: dict[str, list[Row]], exit_code: int) -> str:
    """Returns one JSON document in ASCII.

    Args:
        sections: the rows of the text page; its warnings and problems become the findings of the document.
    """
    document = {
        "schema_version": SCHEMA_VERSION,
        "exit_code": exit_code,
        "findings": [_finding(name, row) for name, rows in sections.items() for row in rows if row.counts],
        "providers": _providers(found, {row.name: row for row in sections["Providers"]}),
        "model": _model(found.model) | {"precision": _precision(found)},
        "bundled_models": [_model(each) for each in found.bundled],
        "environment": {"MLCYCLE_MODEL": found.variable},
        "packages": _packages(found),
        "images": _images(found),
        "extras": {
            each.name: {"installed": not each.missing, "packages": each.packages, "install": each.install}
            for each in found.packages.extras
        },
        "machine": asdict(found.machine),
        "nvidia": asdict(found.driver),
    }
    return json.dumps(document, indent=2, ensure_ascii=True)


def _finding(section: str, row: Row) -> dict[str, str | None]:
    about = {"section": section.lower(), "about": row.name}
    return {"level": row.level.value, **about, "message": row.text, "hint": row.hint or None}


def _providers(found: Examination, rows: dict[str, Row]) -> dict[str, Any]:
    auto = found.probes.get("auto")
    return {
        "requested": found.requested,
        "auto": auto.loaded_on if auto and auto.failure is None else None,
        "probed_with": str(found.probed_model.path) if found.probed_model else None,
        "each": {name: _provider(found, name, rows.get(name)) for name in ("auto", *PACKAGES)},
    }


def _provider(found: Examination, name: str, row: Row | None) -> dict[str, Any]:
    probe, runtime = found.probes.get(name), found.runtime
    runs = probe is not None and probe.failure is None
    return {
        "available": None if runtime is None else name == "auto" or name in runtime.available,
        "runs": runs if found.probes else None,
        "loaded_on": probe.loaded_on if probe else None,
        "threads": probe.threads if probe else None,
        "error": row.text if row and not runs else None,
        "hint": (row.hint or None) if row and not runs else None,
        "package": PACKAGES.get(name),
    }


def _precision(found: Examination) -> str | None:
    return found.probes["cpu"].precision if found.probed_model is found.model and found.probes else None


def _model(file: ModelFile) -> dict[str, Any]:
    return {
        "name": file.name,
        "path": str(file.path),
        "chosen": file.chosen,
        "verified": file.problem is None,
        "sha256": file.sha256,
        "message": file.problem[0] if file.problem else None,
        "hint": (file.problem[1] or None) if file.problem else None,
    }


def _packages(found: Examination) -> dict[str, Any]:
    packages, runtime = found.packages, found.runtime
    return {
        "mlcycle": packages.mlcycle,
        "python": packages.python,
        "python_executable": packages.executable,
        "numpy": packages.numpy,
        "pillow": packages.pillow,
        "onnxruntime": {
            "installed": packages.runtimes,
            "version": runtime.version if runtime else None,
            "files_of": runtime.package if runtime else None,
            "cuda": runtime.cuda if runtime else None,
        },
    }


def _images(found: Examination) -> dict[str, Any]:
    image_formats = found.image_formats
    problem = image_formats.problem or None
    return {
        "pillow_problem": problem,
        "libjpeg_turbo": image_formats.turbo,
        "decoders": image_formats.decoders,
        "resize": image_formats.resize or None,
    }
