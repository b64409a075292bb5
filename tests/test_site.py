"""The documentation holds together: links lead somewhere, installs name extras that exist, and the site builds."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent
PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("**/*.md")), CHECKOUT / "data" / "README.md"]
PAGES = [page for page in PAGES if page.is_file() and not any(part.startswith("_") for part in page.parts)]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """Returns the anchors of a page's headings, as code hosts and the site make them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(CHECKOUT).as_posix())
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor and linked.suffix == ".md":
            assert anchor in anchors(linked), target


def test_every_extra_that_is_named_exists() -> None:
    extras = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    named = {
        extra
        for page in PAGES
        for group in re.findall(r"(?:'\.|mlcycle-faces|\.whl)\[([a-z,]+)\]", page.read_text("utf-8"))
        for extra in group.split(",")
    }
    assert named
    assert named <= set(extras)


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = {
        name for page in PAGES for name in re.findall(r"`make ([a-z-]+)`|^\$ make ([a-z-]+)", page.read_text("utf-8"))
    }
    assert {name for pair in named for name in pair if name} <= targets


def test_the_readme_is_read_in_a_minute() -> None:
    lines = (CHECKOUT / "README.md").read_text("utf-8").splitlines()
    assert len(lines) <= 120
    assert max(map(len, lines)) < 400


def test_every_page_is_in_the_contents() -> None:
    index = (CHECKOUT / "docs" / "index.md").read_text("utf-8")
    listed = {
        line.strip() for block in re.findall(r"```\{toctree\}(.*?)```", index, re.DOTALL) for line in block.split("\n")
    }
    pages = {page.stem for page in (CHECKOUT / "docs").glob("*.md")} - {"index"}
    assert pages <= listed


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_can_be_searched(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "-q", "-b", "html"]
    done = subprocess.run(
        [*command, str(CHECKOUT / "docs"), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    front = (tmp_path / "index.html").read_text("utf-8")
    assert not re.search(r'(?:src|href)="(?:https?:)?//(?!github|pradyunsg|www\.sphinx)', front)
    assert "redact" in (tmp_path / "searchindex.js").read_text("utf-8")
