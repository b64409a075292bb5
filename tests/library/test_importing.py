"""`import mlcycle` brings its names, and loads nothing before one of them is used."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import environment

import mlcycle

HEAVY = {"numpy", "PIL", "onnxruntime", "onnx", "torch", "rich", "typer", "yaml", "cryptography"}


def loaded_by(code: str) -> set[str]:
    """Returns the names of top-level packages that a new process has loaded after some code."""
    code = f"import json, sys\n{code}\nprint(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True, timeout=120
    )
    return set(json.loads(done.stdout))


def test_importing_loads_nothing_that_takes_time():
    assert not loaded_by("import mlcycle; dir(mlcycle)") & HEAVY


def test_importing_loads_no_other_module_of_mlcycle():
    code = "import mlcycle; assert [name for name in sys.modules if name.startswith('mlcycle')] == ['mlcycle']"
    loaded_by(code)


def test_errors_come_without_numpy():
    assert not loaded_by("from mlcycle import MlcycleError, UnreadableError") & HEAVY


def test_taking_all_names_takes_neither_torch_nor_onnx():
    loaded = loaded_by("from mlcycle import *")
    assert "numpy" in loaded
    assert not loaded & {"torch", "onnx", "cryptography", "supervision"}


@pytest.mark.parametrize("name", mlcycle.__all__)
def test_every_public_name_is_there_and_documented(name):
    value = getattr(mlcycle, name)
    assert name in dir(mlcycle)
    assert name == "__version__" or value.__doc__


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        mlcycle.laod  # noqa: B018
    assert not hasattr(mlcycle, "laod")


def test_the_package_says_that_it_is_typed():
    assert (Path(mlcycle.__file__).parent / "py.typed").is_file()
