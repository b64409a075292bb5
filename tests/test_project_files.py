"""Workflows call the Makefile, hooks run its checks, the citation is of this version, and links lead somewhere."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import mlcycle

CHECKOUT = Path(__file__).parent.parent
MAKEFILE = CHECKOUT / "Makefile"

pytestmark = pytest.mark.skipif(not MAKEFILE.is_file(), reason="not a checkout")


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((CHECKOUT / name).read_text("utf-8"))


def commands() -> Iterator[str]:
    """Yields what the workflows run, with the values of their matrix."""
    for job in read(".github/workflows/ci.yml")["jobs"].values():
        matrix = job.get("strategy", {}).get("matrix", {})
        targets = [*matrix.get("target", []), *(each["target"] for each in matrix.get("include", []))]
        for step in job["steps"]:
            if "run" in step:
                yield from (step["run"].replace("${{ matrix.target }}", target) for target in targets or [""])
    yield from (job["script"] for job in read(".gitlab-ci.yml").values() if "script" in job)


def test_workflows_call_the_makefile_and_nothing_else() -> None:
    [phony] = re.findall(r"^\.PHONY: (.*)$", MAKEFILE.read_text("utf-8"), re.MULTILINE)
    called = [re.fullmatch(r"make ([a-z-]+)( PYTHON=python)?", each) for each in commands()]
    assert all(called)
    targets = {each[1] for each in called if each}
    assert {"check", "test", "test-slow", "dist"} <= targets <= set(phony.split())


def test_hooks_run_the_checks_of_the_makefile_without_versions_of_their_own() -> None:
    [repository] = read(".pre-commit-config.yaml")["repos"]
    checks = re.search(r"^check:.*\n((?:\t.*\n)+)", MAKEFILE.read_text("utf-8"), re.MULTILINE)
    assert checks
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        command = hook["entry"].removesuffix(" --force-exclude").removeprefix(".venv/bin/")
        assert f"\t$(BIN)/{command}" in checks[1]


def test_the_citation_is_of_this_version() -> None:
    citation = read("CITATION.cff")
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["project"]
    assert citation["version"] == mlcycle.__version__
    assert (citation["abstract"], citation["license"]) == (project["description"], project["license"])
    assert [each["name"] for each in citation["authors"]] == [each["name"] for each in project["authors"]]


@pytest.mark.parametrize("name", ["SECURITY.md", "CONTRIBUTING.md", "docs/ml-bom.md"])
def test_links_lead_somewhere(name: str) -> None:
    page = CHECKOUT / name
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8"))
    assert links
    assert [link for link in links if not (page.parent / link).exists()] == []
