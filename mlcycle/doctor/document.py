"""The document that programs read: what was found, as JSON has it. Names stay; new ones may be added."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mlcycle.doctor.providers import BRINGS

if TYPE_CHECKING:
    from mlcycle.doctor.examine import Examination
    from mlcycle.doctor.models import ModelFile
    from mlcycle.doctor.verdict import Row

SCHEMA_VERSION = 1


def as_json(found: Examination, sections: dict[str, list[Row]], exit_code: int) -> str:
    """Returns one JSON document in ASCII.

    Args:
        sections: the rows that people read; warnings and problems among them are the document's findings.
    """
    document = {
        "schema_version": SCHEMA_VERSION,
        "exit_code": exit_code,
        "findings": [_finding(name, row) for name, rows in sections.items() for row in rows if row.counts],
        "providers": _providers(found, {row.name: row for row in sections["Providers"]}),
        "model": _model(found.answers) | {"precision": _precision(found)},
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
    auto = found.trials.get("auto")
    return {
        "wanted": found.wanted,
        "auto": auto.took if auto and auto.failure is None else None,
        "tried_with": str(found.tried.path) if found.tried else None,
        "each": {name: _provider(found, name, rows.get(name)) for name in ("auto", *BRINGS)},
    }


def _provider(found: Examination, name: str, row: Row | None) -> dict[str, Any]:
    trial, runtime = found.trials.get(name), found.runtime
    runs = trial is not None and trial.failure is None
    return {
        "available": None if runtime is None else name == "auto" or name in runtime.available,
        "runs": runs if found.trials else None,
        "loaded_on": trial.took if trial else None,
        "threads": trial.threads if trial else None,
        "why_not": row.text if row and not runs else None,
        "hint": (row.hint or None) if row and not runs else None,
        "package": BRINGS.get(name),
    }


def _precision(found: Examination) -> str | None:
    return found.trials["cpu"].precision if found.tried is found.answers and found.trials else None


def _model(file: ModelFile) -> dict[str, Any]:
    return {
        "name": file.name,
        "path": str(file.path),
        "chosen": file.chosen,
        "verified": file.trouble is None,
        "sha256": file.sha256,
        "message": file.trouble[0] if file.trouble else None,
        "hint": (file.trouble[1] or None) if file.trouble else None,
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
    return {"pillow_problem": problem, "libjpeg_turbo": image_formats.turbo, "decoders": image_formats.decoders}
