"""`mlcycle model inspect --format cyclonedx`: valid by the official schema, from the contract, the same each time."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import environment

pytest.importorskip("onnx")
from self_test_models import ABOUT
from tiny_model import CONTRACT, tiny_bytes, write_tiny_model

from mlcycle.artifact.bundled import FOLDER, names
from mlcycle.artifact.seal import write_sealed
from mlcycle.inspecting import cyclonedx

HOSTILE = 'x\x1b[2J\u202e"}]\ud800<script>'
TRAINING = {
    "data": {"fingerprint": "f" * 64, "train_photographs": 9000, "train_faces": 50000, "held_out_photographs": 200},
    "recipe": {"name": "mine", "data": {"train": [{"path": "/secret/folder"}]}, "model": {"width": 16, "stride": 8}},
    "held_out_average_precision_50": 0.5,
    "operating_points": {
        "photographs": 200, "faces": 1234, "intersection_over_union": 0.5,
        "points": {"balanced": {"rule": "the best F1", "recall": 0.8125, "precision": None}},
    },
    "started_from": "b" * 64,
    "teacher": None,
    "git_commit": "c" * 40,
    "frozen_with": {"torch": "2.13.0"},
}  # fmt: skip


@pytest.fixture
def bom(mlcycle: Callable) -> Callable[[Path | str], dict[str, Any]]:
    """Returns the ML-BOM that the command prints, after it was validated."""

    def inspect(file: Path | str) -> dict[str, Any]:
        outcome = mlcycle("model", "inspect", file, "--format", "cyclonedx")
        assert outcome.code == 0, outcome.err
        assert_valid(outcome.out)
        return json.loads(outcome.out)

    return inspect


def assert_valid(text: str) -> None:
    """Validates against the schema of CycloneDX 1.6, as its own library brings it."""
    json_validation = pytest.importorskip("cyclonedx.validation.json")
    schema = pytest.importorskip("cyclonedx.schema")
    assert json_validation.JsonStrictValidator(schema.SchemaVersion.V1_6).validate_str(text) is None


def write(path: Path, **changes: Any) -> Path:
    write_sealed(tiny_bytes(replace(CONTRACT, **changes)), path)
    return path


@pytest.mark.parametrize("name", names())
def test_bundled_models_are_described_by_their_contracts(name, bom, mlcycle):
    document = bom(name)
    model, contract = document["metadata"]["component"], json.loads(mlcycle("model", "inspect", name, "--json").out)
    sha256, contract = contract["sha256"], contract["contract"]
    assert model["type"] == "machine-learning-model"
    assert model["hashes"] == [{"alg": "SHA-256", "content": sha256}]
    assert model["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert model["pedigree"]["ancestors"][0]["hashes"][0]["content"] == contract["parent"]
    [signature] = model["externalReferences"]
    assert (signature["type"], signature["url"]) == ("digital-signature", f"{name}.onnx.sig")
    digest = hashlib.sha256((FOLDER / f"{name}.onnx.sig").read_bytes()).hexdigest()
    assert signature["hashes"][0]["content"] == digest
    card = model["modelCard"]
    assert card["modelParameters"]["architectureFamily"] == "convolutional neural network"
    assert [each["format"].partition(":")[0] for each in card["modelParameters"]["outputs"]] == [
        "boxes", "scores", "landmarks",
    ]  # fmt: skip
    assert card["considerations"]["technicalLimitations"] == contract["about"]["limits"]
    assert card["considerations"]["useCases"] == [contract["about"]["intended_use"]]
    [data] = document["components"]
    assert data["licenses"][0]["license"]["name"] == contract["about"]["data_licence"]
    assert {"ref": data["bom-ref"]} in card["modelParameters"]["datasets"]


def test_metrics_are_those_of_the_contract_and_missing_ones_are_left_out(bom, tmp_path):
    frozen = bom(write(tmp_path / "frozen.onnx", training=TRAINING))["metadata"]["component"]
    metrics = frozen["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert [(each["type"], each["value"]) for each in metrics] == [("AP50", "0.5"), ("recall", "0.8125")]
    assert "200 validation images with 1,234 labelled faces, at IoU 0.5" in metrics[1]["slice"]
    assert not any("float32 model before" in each["slice"] for each in metrics)
    variant = bom(write(tmp_path / "variant.onnx", training=TRAINING, parent="ab" * 32))["metadata"]["component"]
    metrics = variant["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert all("float32 model before" in each["slice"] for each in metrics)
    origins = [each["hashes"][0]["content"] for each in variant["pedigree"]["ancestors"]]
    assert origins == ["ab" * 32, "b" * 64]


def test_no_path_and_no_clock_is_in_the_document(bom, mlcycle, tmp_path):
    file = write(tmp_path / "face.onnx", training=TRAINING)
    (tmp_path / "other").mkdir()
    elsewhere = write(tmp_path / "other" / "face.onnx", training=TRAINING)
    printed = [mlcycle("model", "inspect", each, "--format", "cyclonedx").out for each in (file, elsewhere, file)]
    assert printed[0] == printed[1] == printed[2]
    assert "/secret" not in printed[0]
    assert str(tmp_path) not in printed[0]
    assert "timestamp" not in printed[0]


def test_another_document_has_another_serial_number(bom, tmp_path):
    file = write(tmp_path / "face.onnx")
    first = bom(file)["serialNumber"]
    assert bom(write(tmp_path / "other.onnx", name="other"))["serialNumber"] != first
    (tmp_path / "face.onnx.sig").write_text("{}")
    assert bom(file)["serialNumber"] != first


def test_a_file_without_about_and_training_has_a_short_document(bom, tmp_path):
    document = bom(write_tiny_model(tmp_path / "tiny.onnx"))
    model = document["metadata"]["component"]
    assert document["components"] == []
    assert not model.keys() & {"licenses", "pedigree", "externalReferences"}
    assert not model["modelCard"].keys() & {"considerations", "quantitativeAnalysis"}


@pytest.mark.parametrize(
    "changes",
    [
        {"about": {"licence": HOSTILE, "limits": [HOSTILE, 7], "intended_use": [HOSTILE], "data_licence": ["a", "b"]}},
        {"training": {HOSTILE: HOSTILE, "teacher": HOSTILE, "data": {HOSTILE: [1.5, None]}, "step": True}},
        {"training": {"operating_points": [1], "data": "none", "recipe": 3, "started_from": "b" * 63}},
        {"parent": "not a digest"},
        {"about": ABOUT | {"licence": "A licence of our own"}},
    ],
)
def test_any_contract_gives_a_valid_document(bom, tmp_path, changes):
    bom(write(tmp_path / "odd.onnx", **changes))


@pytest.mark.parametrize("change", [{"about": "fine"}, {"training": [1]}])
def test_values_of_the_wrong_type_and_damaged_files_exit_4(mlcycle, tmp_path, change):
    contract = json.loads(CONTRACT.to_json()) | change
    write_sealed(tiny_bytes(contract_json=json.dumps(contract)), tmp_path / "odd.onnx")
    outcome = mlcycle("model", "inspect", tmp_path / "odd.onnx", "--format", "cyclonedx")
    assert (outcome.code, outcome.out) == (4, "")
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes((FOLDER / "face-nano.onnx").read_bytes()[:-1] + b"0")
    assert mlcycle("model", "inspect", damaged, "--format", "cyclonedx").code == 4


def test_identifiers_of_licences_are_those_of_the_format():
    spdx = Path(pytest.importorskip("cyclonedx.schema").__file__).parent / "_res" / "spdx.SNAPSHOT.schema.json"
    assert set(json.loads(spdx.read_text("utf-8"))["enum"]) >= set(cyclonedx.SPDX_IDS)


def test_it_needs_no_runtime_and_no_extra():
    code = (
        "import sys\n"
        "for name in ('onnx', 'onnxruntime', 'torch', 'cyclonedx'): sys.modules[name] = None\n"
        "from mlcycle.cli import run\n"
        "sys.exit(run(['model', 'inspect', 'face-nano', '--format', 'cyclonedx']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
