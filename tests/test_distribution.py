"""The name of the installable package, and the command that installs it from where it came from."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from mlcycle import distribution

CHECKOUT = Path(__file__).parent.parent


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Makes the package look like an installed one; returns its metadata folder."""
    folder = tmp_path / "site-packages"
    metadata = folder / "mlcycle_faces-0.1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution.NAME}\nVersion: 0.1.0\n")
    monkeypatch.setattr(distribution, "__file__", str(folder / "mlcycle" / "distribution.py"))
    monkeypatch.syspath_prepend(folder)
    return metadata


def test_a_checkout_installs_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(distribution, "__file__", str(tmp_path / "mlcycle" / "distribution.py"))
    assert distribution.install_command("train") == f"pip install --editable '{tmp_path}[train]'"


def test_an_installed_package_names_its_origin_as_long_as_that_exists(installed: Path, tmp_path: Path) -> None:
    assert distribution.install_command("train") == "pip install 'mlcycle-faces[train]'"
    wheel = tmp_path / "my wheels" / "mlcycle_faces-0.1.0-py3-none-any.whl"
    (installed / "direct_url.json").write_text(json.dumps({"url": wheel.as_uri(), "archive_info": {}}))
    assert distribution.install_command("train") == "pip install 'mlcycle-faces[train]'"
    wheel.parent.mkdir()
    wheel.touch()
    assert distribution.install_command("train") == f"pip install '{wheel}[train]'"
    (installed / "direct_url.json").write_text(json.dumps({"url": "https://example.org/mlcycle.whl"}))
    assert distribution.install_command("", "--no-deps") == "pip install --no-deps mlcycle-faces"
    (installed / "direct_url.json").write_text("[")
    assert distribution.install_command() == "pip install mlcycle-faces"


@pytest.mark.skipif(not (CHECKOUT / "pyproject.toml").is_file(), reason="not a checkout")
def test_the_project_has_the_name_that_the_code_has() -> None:
    assert tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["project"]["name"] == distribution.NAME


def test_no_page_and_no_message_installs_another_projects_package() -> None:
    files = [CHECKOUT / "README.md", *CHECKOUT.glob("*/*.md"), *CHECKOUT.glob("mlcycle/**/*.py")]
    wrong = re.compile(r"pip install (?:-\S+ )*[\"']?mlcycle(?![-_\w])")
    assert wrong.search("pip install 'mlcycle[train]'")
    assert [each.name for each in files if each.is_file() and wrong.search(each.read_text("utf-8"))] == []
