"""`mlcycle doctor` on this machine, with faulty versions of onnxruntime, and its exit codes."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy
import onnxruntime
import PIL
import pytest
from conftest import environment
from odd_onnxruntime import (
    DIES_AT_ITS_END,
    DIES_WHEN_IT_LOADS,
    FAILS_WHEN_IT_RUNS,
    NEVER_LOADS,
    WITHOUT_LIBRARIES,
    write_broken_onnxruntime,
    write_odd_onnxruntime,
)

import mlcycle as package
from mlcycle.artifact import bundled
from mlcycle.artifact.seal import read_sealed
from mlcycle.distribution import install_command
from mlcycle.doctor import models, providers, verdict
from mlcycle.doctor.examine import examine
from mlcycle.doctor.verdict import Level
from mlcycle.inference.session import PROVIDERS, open_session

NANO = bundled.FOLDER / "face-nano.onnx"
HAS_CUDA = "CUDAExecutionProvider" in onnxruntime.get_available_providers()


@pytest.fixture
def doctor(mlcycle) -> Any:
    """Runs `mlcycle doctor … --json`: doctor("--provider", "cpu") → exit code, document, stderr."""

    def run(*arguments: str | Path) -> tuple[int, dict[str, Any], str]:
        outcome = mlcycle("doctor", *arguments, "--json")
        return outcome.code, json.loads(outcome.out), outcome.err

    return run


@pytest.fixture
def faulty_onnxruntime(tmp_path, monkeypatch) -> Any:
    """Puts a changed onnxruntime on the path of child processes, before the real one."""

    def put(change: str) -> None:
        monkeypatch.syspath_prepend(write_odd_onnxruntime(tmp_path / "odd", change))

    return put


def test_the_document_describes_this_machine(doctor):
    code, found, err = doctor()
    assert (code, found["exit_code"], found["schema_version"], err) == (0, 0, 2, "")
    each = found["providers"]["each"]
    assert set(each) == {"auto", *PROVIDERS}
    available = {PROVIDERS[name] for name in PROVIDERS if each[name]["available"]}
    assert available == set(onnxruntime.get_available_providers()) & set(PROVIDERS.values())
    assert each["cpu"]["runs"]
    assert all(bool(facts["error"]) != facts["runs"] for facts in each.values())
    assert found["providers"]["auto"] == open_session(read_sealed(NANO)).provider

    packages = found["packages"]
    assert packages["onnxruntime"]["version"] == onnxruntime.__version__
    expected = {
        "mlcycle": package.__version__,
        "python": platform.python_version(),
        "python_executable": sys.executable,
    }
    expected |= {"numpy": numpy.__version__, "pillow": PIL.__version__}
    assert {key: packages[key] for key in expected} == expected
    assert found["model"]["path"] == str(NANO)
    assert found["model"]["sha256"] == read_sealed(NANO).sha256
    assert found["model"]["precision"] == "int8"
    assert [each["verified"] for each in found["bundled_models"]] == [True] * len(bundled.names())
    assert found["extras"]["export"] == {
        "installed": True,
        "packages": {"onnx": metadata.version("onnx")},
        "install": install_command("export"),
    }
    assert found["machine"]["cores"]["machine"] == os.cpu_count()
    assert {"images", "nvidia", "environment", "findings"} < set(found)


@pytest.mark.skipif(HAS_CUDA, reason="this onnxruntime has CUDA")
def test_a_requested_provider_that_is_not_available_exits_6_with_the_reason(process):
    outcome = process("doctor", "--provider", "cuda")
    assert outcome.code == 6
    assert "install onnxruntime-gpu" in row_of(outcome.out, "problem", "cuda")
    assert "NVIDIA driver" in row_of(outcome.out, "problem", "cuda")
    assert row_of(outcome.out, "ok", "cpu")
    error, hint = outcome.err.splitlines()
    assert error == "error: the provider cuda is not available; this onnxruntime has cpu"
    assert "pip install onnxruntime-gpu" in hint


def test_a_damaged_model_exits_4_and_providers_are_still_probed(doctor, tmp_path, monkeypatch):
    data = bytearray(NANO.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "damaged.onnx").write_bytes(data)
    code, found, err = doctor("--model", tmp_path / "damaged.onnx")
    assert code == found["exit_code"] == 4
    assert not found["model"]["verified"]
    assert found["model"]["message"] in err
    assert found["providers"]["each"]["cpu"]["runs"]
    assert Path(found["providers"]["probed_with"]).parent == bundled.FOLDER
    assert [(each["level"], each["about"]) for each in found["findings"] if each["level"] == "problem"] == [
        ("problem", "used")
    ]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLCYCLE_MODEL", "damaged.onnx")
    assert models.model_file(None).problem[0].startswith("damaged.onnx is damaged")
    assert (models.model_file(None).chosen, models.variable()) == ("MLCYCLE_MODEL", "damaged.onnx")


def test_a_file_of_a_newer_format_exits_4(doctor, tmp_path):
    from tiny_model import tiny_bytes

    (tmp_path / "later.onnx").write_bytes(tiny_bytes(contract_json='{"format": 2}'))
    code, found, err = doctor("--model", tmp_path / "later.onnx")
    assert code == 4
    assert "install a newer mlcycle" in err
    assert found["providers"]["each"]["auto"]["runs"]


def test_a_missing_library_is_named(faulty_onnxruntime):
    faulty_onnxruntime(WITHOUT_LIBRARIES)
    probe = providers.probe("cuda", NANO)
    assert probe.runtime.available == ("cpu", "cuda")
    library = "libcublasLt.so.13: cannot open shared object file: No such file or directory"
    assert probe.failure.sentence.endswith(f"used another: {library}")


@pytest.mark.slow
def test_doctor_survives_a_provider_that_crashes(faulty_onnxruntime):
    faulty_onnxruntime(DIES_WHEN_IT_LOADS)
    found = examine(NANO, "auto")
    rows = {row.name: row for row in verdict.sections(found)["Providers"]}
    assert (rows["auto"].level, rows["auto"].hint) == (Level.problem, "use --provider cpu")
    assert "killed by SIGSEGV while loading the model on auto" in rows["auto"].text
    assert rows["cuda"].level is Level.warning
    assert rows["cpu"].level is Level.ok
    assert verdict.error(found).exit_code == 6
    assert verdict.error(replace(found, requested="cpu")) is None


def test_a_provider_that_loads_and_fails_to_run_is_a_failure(faulty_onnxruntime):
    faulty_onnxruntime(FAILS_WHEN_IT_RUNS)
    probe = providers.probe("auto", NANO)
    assert probe.loaded_on == "cuda"
    assert probe.failure.blames == "provider"
    assert "no kernel image is available" in probe.failure.sentence


def test_a_provider_that_crashes_on_exit_is_a_failure(faulty_onnxruntime):
    faulty_onnxruntime(DIES_AT_ITS_END)
    probe = providers.probe("cuda", NANO)
    assert probe.failure.sentence == ("the process was killed by SIGSEGV while exiting, after it ran the model on cuda")


def test_a_provider_that_hangs_times_out(faulty_onnxruntime):
    faulty_onnxruntime(NEVER_LOADS)
    probe = providers.probe("cuda", NANO, seconds=0.2)
    assert "had not ended after 0.2 seconds" in probe.failure.sentence
    assert probe.failure.hint == "for a longer timeout, run mlcycle doctor --provider cuda"


def test_doctor_survives_a_broken_onnxruntime_and_imports_nothing_heavy(tmp_path):
    folder = write_broken_onnxruntime(tmp_path / "broken")
    code = "from mlcycle.cli import run; print('exit code', run(['doctor']))"
    page, modules = done(code, f"{folder}{os.pathsep}{environment()['PYTHONPATH']}")
    assert "exit code 6" in page
    assert "libfoo.so.1: cannot open" in row_of(page, "problem", "auto")
    assert "\nImages\n" in page
    assert not modules & {"torch", "onnxruntime", "numpy", "ray", "pyarrow", "av"}


def test_a_probe_imports_no_torch():
    code = f"from mlcycle.doctor.probe import main; sys.argv[1:] = {[str(NANO), 'cpu']}; main()"
    stages, modules = done(code, environment()["PYTHONPATH"])
    assert '"stage": "ran"' in stages
    assert "torch" not in modules


def test_the_providers_equal_those_of_the_session():
    assert list(providers.PACKAGES) == list(PROVIDERS)


def done(code: str, path: str) -> tuple[str, set[str]]:
    """Runs code in a process that imports from `path`; returns its stdout and its imported modules."""
    whole = f"import sys; {code}; sys.stderr.write('\\n' + ' '.join(sys.modules))"
    ended = subprocess.run(
        [sys.executable, "-c", whole],
        capture_output=True,
        text=True,
        env=environment({"PYTHONPATH": path}),
        check=True,
        timeout=60,
    )
    return ended.stdout, set(ended.stderr.splitlines()[-1].split())


def row_of(page: str, mark: str, name: str) -> str:
    """Returns the row with this mark and name, or ""."""
    return next((line for line in page.splitlines() if line.split()[:2] == [mark, name]), "")
