"""`mlcycle doctor` on this very machine, on machines that are made odd, and its exit codes."""

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
from mlcycle.doctor import models, providers, verdict
from mlcycle.doctor.examine import examine
from mlcycle.doctor.verdict import Level
from mlcycle.inference.session import PROVIDERS, open_session

NANO = bundled.FOLDER / "face-nano.onnx"
HAS_CUDA = "CUDAExecutionProvider" in onnxruntime.get_available_providers()


@pytest.fixture
def asked(mlcycle) -> Any:
    """Runs `mlcycle doctor … --json`: asked("--provider", "cpu") → exit code, document, stderr."""

    def ask(*arguments: str | Path) -> tuple[int, dict[str, Any], str]:
        outcome = mlcycle("doctor", *arguments, "--json")
        return outcome.code, json.loads(outcome.out), outcome.err

    return ask


@pytest.fixture
def onnxruntime_that(tmp_path, monkeypatch) -> Any:
    """Puts a changed onnxruntime before the real one, for the processes that are started."""

    def put(change: str) -> None:
        monkeypatch.syspath_prepend(write_odd_onnxruntime(tmp_path / "odd", change))

    return put


def test_the_document_says_what_is_so(asked):
    code, found, err = asked()
    assert (code, found["exit_code"], found["schema_version"], err) == (0, 0, 1, "")
    each = found["providers"]["each"]
    assert set(each) == {"auto", *PROVIDERS}
    there = {PROVIDERS[name] for name in PROVIDERS if each[name]["available"]}
    assert there == set(onnxruntime.get_available_providers()) & set(PROVIDERS.values())
    assert each["cpu"]["runs"]
    assert all(bool(facts["why_not"]) != facts["runs"] for facts in each.values())
    assert found["providers"]["auto"] == open_session(read_sealed(NANO)).provider

    packages = found["packages"]
    assert packages["onnxruntime"]["version"] == onnxruntime.__version__
    ours = {"mlcycle": package.__version__, "python": platform.python_version(), "python_executable": sys.executable}
    ours |= {"numpy": numpy.__version__, "pillow": PIL.__version__}
    assert {key: packages[key] for key in ours} == ours
    assert found["model"]["path"] == str(NANO)
    assert found["model"]["sha256"] == read_sealed(NANO).sha256
    assert found["model"]["precision"] == "int8"
    assert [each["verified"] for each in found["bundled_models"]] == [True] * len(bundled.names())
    assert found["extras"]["export"] == {
        "installed": True,
        "packages": {"onnx": metadata.version("onnx")},
        "install": "pip install 'mlcycle[export]'",
    }
    assert found["machine"]["cores"]["machine"] == os.cpu_count()
    assert {"images", "nvidia", "environment", "findings"} < set(found)


@pytest.mark.skipif(HAS_CUDA, reason="this onnxruntime has CUDA")
def test_a_provider_that_is_wanted_and_not_there_exits_6_and_says_why(process):
    outcome = process("doctor", "--provider", "cuda")
    assert outcome.code == 6
    assert "onnxruntime-gpu brings it" in row_of(outcome.out, "problem", "cuda")
    assert "NVIDIA driver" in row_of(outcome.out, "problem", "cuda")
    assert row_of(outcome.out, "ok", "cpu")
    error, hint = outcome.err.splitlines()
    assert error == "error: the provider cuda is not there; this onnxruntime has cpu"
    assert "pip install onnxruntime-gpu" in hint


def test_a_damaged_model_exits_4_and_providers_are_tried_all_the_same(asked, tmp_path, monkeypatch):
    data = bytearray(NANO.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "damaged.onnx").write_bytes(data)
    code, found, err = asked("--model", tmp_path / "damaged.onnx")
    assert code == found["exit_code"] == 4
    assert not found["model"]["verified"]
    assert found["model"]["message"] in err
    assert found["providers"]["each"]["cpu"]["runs"]
    assert Path(found["providers"]["tried_with"]).parent == bundled.FOLDER
    assert [(each["level"], each["about"]) for each in found["findings"] if each["level"] == "problem"] == [
        ("problem", "answers")
    ]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLCYCLE_MODEL", "damaged.onnx")
    assert models.answering(None).trouble[0].startswith("damaged.onnx is damaged")
    assert (models.answering(None).chosen, models.variable()) == ("MLCYCLE_MODEL", "damaged.onnx")


def test_a_whole_file_that_this_version_cannot_read_exits_4(asked, tmp_path):
    from tiny_model import tiny_bytes

    (tmp_path / "later.onnx").write_bytes(tiny_bytes(contract_json='{"format": 2}'))
    code, found, err = asked("--model", tmp_path / "later.onnx")
    assert code == 4
    assert "install a newer mlcycle" in err
    assert found["providers"]["each"]["auto"]["runs"]


def test_a_library_that_is_missing_is_named(onnxruntime_that):
    onnxruntime_that(WITHOUT_LIBRARIES)
    trial = providers.attempt("cuda", NANO)
    assert trial.runtime.available == ("cpu", "cuda")
    library = "libcublasLt.so.13: cannot open shared object file: No such file or directory"
    assert trial.failure.sentence.endswith(f"took another: {library}")


def test_a_provider_that_kills_its_process_is_survived(onnxruntime_that):
    onnxruntime_that(DIES_WHEN_IT_LOADS)
    found = examine(NANO, "auto")
    rows = {row.name: row for row in verdict.sections(found)["Providers"]}
    assert (rows["auto"].level, rows["auto"].hint) == (Level.problem, "ask for --provider cpu")
    assert "killed by SIGSEGV while loading the model on auto" in rows["auto"].text
    assert rows["cuda"].level is Level.warning
    assert rows["cpu"].level is Level.ok
    assert verdict.error(found).exit_code == 6
    assert verdict.error(replace(found, wanted="cpu")) is None


def test_a_provider_that_loads_and_then_fails_is_not_called_running(onnxruntime_that):
    onnxruntime_that(FAILS_WHEN_IT_RUNS)
    trial = providers.attempt("auto", NANO)
    assert trial.took == "cuda"
    assert trial.failure.blames == "provider"
    assert "no kernel image is available" in trial.failure.sentence


def test_a_provider_that_runs_and_then_dies_is_not_called_running(onnxruntime_that):
    onnxruntime_that(DIES_AT_ITS_END)
    trial = providers.attempt("cuda", NANO)
    assert trial.failure.sentence == (
        "the process was killed by SIGSEGV while ending, after it had run the model on cuda"
    )


def test_a_provider_that_never_answers_is_given_up(onnxruntime_that):
    onnxruntime_that(NEVER_LOADS)
    trial = providers.attempt("cuda", NANO, seconds=0.2)
    assert "had not ended after 0.2 seconds" in trial.failure.sentence
    assert trial.failure.hint == "mlcycle doctor --provider cuda waits longer"


def test_an_onnxruntime_that_cannot_be_imported_is_survived_and_nothing_heavy_is(tmp_path):
    folder = write_broken_onnxruntime(tmp_path / "broken")
    code = "from mlcycle.cli import run; print('exit code', run(['doctor']))"
    page, modules = done(code, f"{folder}{os.pathsep}{environment()['PYTHONPATH']}")
    assert "exit code 6" in page
    assert "libfoo.so.1: cannot open" in row_of(page, "problem", "auto")
    assert "\nImages\n" in page
    assert not modules & {"torch", "onnxruntime", "numpy", "ray", "pyarrow", "av"}


def test_a_trial_imports_no_torch():
    code = f"from mlcycle.doctor.probe import main; sys.argv[1:] = {[str(NANO), 'cpu']}; main()"
    stages, modules = done(code, environment()["PYTHONPATH"])
    assert '"stage": "ran"' in stages
    assert "torch" not in modules


def test_the_names_of_providers_are_those_of_the_session():
    assert list(providers.BRINGS) == list(PROVIDERS)


def done(code: str, path: str) -> tuple[str, set[str]]:
    """Runs code in a process that imports from `path`; returns its stdout and the modules that it had at its end."""
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
    """Returns the row that has this mark and this name, or ""."""
    return next((line for line in page.splitlines() if line.split()[:2] == [mark, name]), "")
