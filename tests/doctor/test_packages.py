"""The installed packages, and two packages that overwrite each other."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import environment
from odd_onnxruntime import write_metadata

from mlcycle.distribution import NAME
from mlcycle.doctor.packages import EXTRAS

PROJECT = Path(__file__).parent.parent.parent / "pyproject.toml"
# For the development of mlcycle.
FOR_DEVELOPMENT = {"dev", "docs", "test"}


def found_with(folder: Path) -> dict[str, str]:
    """Returns the packages of onnxruntime that another process finds, with a folder on its path."""
    code = "import json, sys; from mlcycle.doctor import packages; print(json.dumps(packages.inspect().runtimes))"
    paths = os.pathsep.join([str(folder), environment()["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment({"PYTHONPATH": paths}),
        check=True,
        timeout=60,
    )
    return json.loads(done.stdout)


def test_packages_that_overwrite_each_other_are_found(tmp_path):
    plain = found_with(tmp_path)
    assert len(plain) == 1, "the tests need exactly one onnxruntime package"
    write_metadata(tmp_path, "onnxruntime-gpu", "1.20.0")
    write_metadata(tmp_path, "ort_nightly", "1.21.0")
    (tmp_path / "onnxruntime_openvino-1.22.0.dist-info").mkdir()
    assert found_with(tmp_path) == plain | {"onnxruntime-gpu": "1.20.0", "ort-nightly": "1.21.0"}


def test_packages_with_similar_names_are_ignored(tmp_path):
    write_metadata(tmp_path, "onnxruntime-extensions", "0.15.0", ("onnxruntime_extensions/__init__.py",))
    write_metadata(tmp_path, "onnxruntime-genai", "0.18.0", ("onnxruntime_genai/__init__.py",))
    assert len(found_with(tmp_path)) == 1


@pytest.mark.skipif(not PROJECT.is_file(), reason="not a checkout")
def test_the_extras_equal_those_of_the_project():
    extras = tomllib.loads(PROJECT.read_text("utf-8"))["project"]["optional-dependencies"]
    for name in set(extras) - FOR_DEVELOPMENT:
        packages = {re.split(r"[>;[]", each)[0].strip() for each in extras[name]} - {NAME}
        assert set(EXTRAS[name][1]) == packages, name
