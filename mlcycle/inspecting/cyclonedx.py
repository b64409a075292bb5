"""A model file as a CycloneDX ML-BOM, from its contract alone: `mlcycle model inspect FILE --format cyclonedx`.

CycloneDX (ECMA-424) is a format of bills of materials that supply-chain tools read; docs/ml-bom.md lists its fields. No
clock and no random number is used: the same file gives the same document.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlcycle import __version__
from mlcycle.artifact.contract import Contract
from mlcycle.artifact.dotted_names import flatten
from mlcycle.errors import ModelFileError
from mlcycle.inspecting import card_sections
from mlcycle.inspecting.opened import Opened, open_file
from mlcycle.inspecting.section import shown

SPEC_VERSION = "1.6"
# Names of licences that the format has an identifier for; any other text is the name of a licence.
SPDX_IDS = (
    "AGPL-3.0-only", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC-BY-4.0", "CC-BY-NC-4.0", "CC-BY-NC-ND-4.0",
    "CC-BY-NC-SA-4.0", "CC-BY-SA-4.0", "CC0-1.0", "GPL-3.0-only", "GPL-3.0-or-later", "ISC", "LGPL-3.0-only", "MIT",
    "MPL-2.0", "Unlicense",
)  # fmt: skip
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DATA = "training-data"
# Of the contract's `training`, what has a place of its own in the document, or says where files were.
_ELSEWHERE = ("recipe", "data", "operating_points", "held_out_average_precision_50", "started_from", "teacher")

Json = dict[str, Any]


def examine(path: Path) -> Json:
    """Verifies a model file and returns its ML-BOM.

    Raises:
        ModelFileError: the file cannot be used, or its contract has values of the wrong type.
    """
    opened = open_file(path)
    try:
        document = _document(opened)
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError):
        sentence = f"the contract of {opened.sealed.path} has values of the wrong type"
        raise ModelFileError(sentence, "freeze the model again; --json prints it unchanged") from None
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC_VERSION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "serialNumber": f"urn:uuid:{_serial_number(document)}",
        "version": 1,
        **document,
    }


def as_json(document: Json) -> str:
    """Returns the document as ASCII text, which has no control sequences of terminals."""
    return json.dumps(document, indent=2, ensure_ascii=True)


def _serial_number(document: Json) -> uuid.UUID:
    """Derives a number from the document, and so from the file's digest: equal numbers mean equal documents.

    Another document of the same file, which has a signature by then or is written by a newer mlcycle, has another one.
    """
    canonical = json.dumps(document, sort_keys=True).encode()
    return uuid.uuid5(uuid.NAMESPACE_OID, hashlib.sha256(canonical).hexdigest())


def _document(opened: Opened) -> Json:
    model = _model(opened)
    data = _training_data(opened.contract)
    return {
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "mlcycle", "version": __version__}]},
            "component": model,
        },
        "components": data,
        "dependencies": [{"ref": model["bom-ref"], "dependsOn": [each["bom-ref"] for each in data]}],
    }


def _model(opened: Opened) -> Json:
    contract, sha256 = opened.contract, opened.sealed.sha256
    return {
        "type": "machine-learning-model",
        "bom-ref": f"sha256:{sha256}",
        "name": contract.name,
        "version": sha256,
        "description": card_sections.summary({"contract": opened.contract_json}),
        "hashes": _hashes(sha256),
        **_licences(contract.about.get("licence")),
        **_references(opened.sealed.path),
        **_pedigree(contract),
        "modelCard": {
            "modelParameters": _parameters(opened),
            **_analysis(contract),
            **_considerations(contract.about),
            "properties": list(_properties(contract)),
        },
    }


def _hashes(sha256: str) -> list[Json]:
    return [{"alg": "SHA-256", "content": sha256}]


def _licences(licence: Any) -> Json:
    if not licence:
        return {}
    name = shown(licence)
    return {"licenses": [{"license": {"id" if name in SPDX_IDS else "name": name}}]}


def _references(path: Path) -> Json:
    """Returns a reference to the signature next to the file, if there is one; it is not verified here."""
    signature = path.with_name(f"{path.name}.sig")
    if not signature.is_file():
        return {}
    reference = {
        "type": "digital-signature",
        "url": signature.name,
        "comment": "An OpenSSF Model Signing bundle, for mlcycle model verify; not verified for this document.",
        "hashes": _hashes(hashlib.sha256(signature.read_bytes()).hexdigest()),
    }
    return {"externalReferences": [reference]}


def _pedigree(contract: Contract) -> Json:
    training = contract.training
    recipe = _mapping(training.get("recipe"))
    origins = (
        (contract.name, contract.parent, f"the file from which this one, in {contract.precision}, was exported"),
        (recipe.get("start_from"), training.get("started_from"), "the weights from which the training started"),
        ("teacher", training.get("teacher"), "the weights whose predictions were targets in the training"),
    )
    ancestors = [
        {
            "type": "machine-learning-model",
            "name": shown(name) if name else "weights",
            "version": digest,
            "description": description,
            "hashes": _hashes(digest),
        }
        for name, digest, description in origins
        if isinstance(digest, str) and _SHA256.fullmatch(digest)
    ]
    return {"pedigree": {"ancestors": ancestors}} if ancestors else {}


def _parameters(opened: Opened) -> Json:
    contract = opened.contract
    network = _mapping(_mapping(contract.training.get("recipe")).get("model"))
    parameters: Json = {"task": "object-detection"}
    if contract.training.get("data"):
        parameters |= {"approach": {"type": "supervised"}, "datasets": [{"ref": _DATA}]}
    if ("", "Conv") in opened.structure.operators:
        parameters["architectureFamily"] = "convolutional neural network"
    if network:
        settings = ", ".join(f"{name} {shown(value)}" for name, value in flatten(network))
        parameters["modelArchitecture"] = f"mlcycle FaceNetwork: {settings}"
    return parameters | {
        "inputs": [{"format": _input(contract)}],
        "outputs": [{"format": text} for text in _outputs(contract)],
    }


def _input(contract: Contract) -> str:
    size = contract.input_size
    shape = f"[{size.batch}, {size.height}, {size.width}, 3]" if size else "[B, H, W, 3]"
    return (
        f"images: {contract.dtype} {shape}, {contract.layout}, {contract.colour}, {contract.orientation}, not"
        f" normalised; resized by the rule {contract.resize.rule} to a long side of {contract.resize.long_side} pixels"
    )


def _outputs(contract: Contract) -> Iterator[str]:
    yield f"boxes: float32 [B, N, 4], {contract.box_order} in pixels of the input"
    yield "scores: float32 [B, N], from 0 to 1, best first"
    if contract.landmarks:
        points = len(contract.landmarks)
        yield f"landmarks: float32 [B, N, {points}, 2], x y in pixels of the input: {', '.join(contract.landmarks)}"


def _analysis(contract: Contract) -> Json:
    metrics = list(_metrics(contract))
    return {"quantitativeAnalysis": {"performanceMetrics": metrics}} if metrics else {}


def _metrics(contract: Contract) -> Iterator[Json]:
    """Yields what freezing measured. An exported variant has the metrics of the file that was frozen."""
    measured = _mapping(contract.training.get("operating_points"))
    on = f"{shown(measured.get('photographs'))} validation images with {shown(measured.get('faces'))} labelled faces"
    on += f", at IoU {shown(measured.get('intersection_over_union'))}"
    of = "" if contract.parent is None else "; measured with the float32 model before this variant was exported"
    if (ap50 := contract.training.get("held_out_average_precision_50")) is not None:
        yield {"type": "AP50", "value": str(ap50), "slice": f"validation set, during training{of}"}
    for name, facts in sorted(_mapping(measured.get("points")).items()):
        threshold = f"{contract.thresholds[name]:g}" if name in contract.thresholds else "?"
        point = f"operating point {name}, scores from {threshold}, on {on}{of}"
        for key, kind in (
            ("recall", "recall"),
            ("precision", "precision"),
            ("false_alarms_a_photograph", "false alarms per image"),
        ):
            if (value := _mapping(facts).get(key)) is not None:
                yield {"type": kind, "value": str(value), "slice": point}


def _considerations(about: Mapping[str, Any]) -> Json:
    texts = {"useCases": about.get("intended_use"), "technicalLimitations": about.get("limits")}
    found = {
        key: [shown(each) for each in (value if isinstance(value, list) else [value])]
        for key, value in texts.items()
        if value
    }
    return {"considerations": found} if found else {}


def _properties(contract: Contract) -> Iterator[Json]:
    facts = {"format": contract.format, "precision": contract.precision, "threshold": contract.thresholds}
    facts |= {key: value for key, value in contract.training.items() if key not in _ELSEWHERE}
    for name, value in flatten(facts):
        yield _property(name, value)


def _property(name: str, value: Any) -> Json:
    """Returns a value as text for programs: numbers without separators, lists and objects as JSON."""
    return {"name": f"mlcycle:{name}", "value": value if isinstance(value, str) else json.dumps(value)}


def _training_data(contract: Contract) -> list[Json]:
    """Returns the data that the model was trained and validated on, as one component; none if it is not known."""
    data = _mapping(contract.training.get("data"))
    if not data:
        return []
    counts = ("train_photographs", "train_faces", "held_out_photographs", "held_out_faces")
    images, faces, val_images, val_faces = (shown(data.get(key, "an unknown number of")) for key in counts)
    return [
        {
            "type": "data",
            "bom-ref": _DATA,
            "name": "training and validation data",
            **_licences(contract.about.get("data_licence")),
            "data": [
                {"type": "dataset", "name": "train", "description": f"{images} images with {faces} labelled faces"},
                {
                    "type": "dataset",
                    "name": "val",
                    "description": f"{val_images} images with {val_faces} labelled faces",
                },
            ],
            "properties": [_property(f"data.{name}", value) for name, value in flatten(data)],
        }
    ]


def _mapping(value: Any) -> Mapping[str, Any]:
    """Returns a mapping, or an empty one for another type: `training` can contain anything."""
    return value if isinstance(value, Mapping) else {}
