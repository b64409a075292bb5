"""How `make docs` builds the documentation from the Markdown files in this folder, with Sphinx."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from sphinx.application import Sphinx

import mlcycle

project = "mlcycle"
version = release = mlcycle.__version__
author = copyright = "The mlcycle developers"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build", "pictures/*.py", "lessons/**/__pycache__", "lessons/work"]
myst_heading_anchors = 3
smartquotes = False  # it would turn --option into a dash and a word
# Prompts are not copied, and neither is what a command prints.
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True

# A pydantic model lists its fields itself; types of arrays are in the docstrings, with their shapes.
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring, napoleon_numpy_docstring = True, False

html_theme = "furo"
html_title = "mlcycle"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
# Nothing is loaded from elsewhere: furo's fonts are those of the system, and the search runs in the browser.
html_theme_options = {
    "source_repository": "",
    "light_css_variables": {"color-brand-primary": "#0b6e4f", "color-brand-content": "#0b6e4f"},
    "dark_css_variables": {"color-brand-primary": "#5fd3a8", "color-brand-content": "#5fd3a8"},
}

# Pages that lie elsewhere in the project, and are pages of the site too.
CHECKOUT = Path(__file__).parent.parent
OUTSIDE = {
    "mlcycle/models/face-nano.md": "_outside/face-nano.md",
    "mlcycle/models/face-base.md": "_outside/face-base.md",
    "data/README.md": "_outside/data.md",
}


def copy_outside(app: Sphinx) -> None:
    """Copies the pages into the folder that Sphinx reads; git ignores the copies."""
    for source, copy in OUTSIDE.items():
        path = Path(app.srcdir) / copy
        path.parent.mkdir(exist_ok=True)
        text = (CHECKOUT / source).read_text("utf-8").replace("](../docs/", "](../").replace("](../../docs/", "](../")
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


def link_outside(app: Sphinx, page: str, source: list[str]) -> None:
    """Lets links to these pages lead to the copies."""
    for original, copy in OUTSIDE.items():
        source[0] = source[0].replace(f"](../{original}", f"]({copy}")


# A page that is whole already, and is copied as it is.
WHOLE = "lessons/two-phases.html"


def link_whole(app: Sphinx, page: str, source: list[str]) -> None:
    """Lets links to that page open it; Sphinx would make them downloads."""
    name = re.escape(Path(WHOLE).name)
    source[0] = re.sub(rf"\[([^\]]+)\]\(([\w./-]*{name})\)", r'<a href="\2">\1</a>', source[0])


def copy_whole(app: Sphinx, problem: Exception | None) -> None:
    """Copies that page into the site, to where it lies among the sources."""
    if problem is None and app.builder.format == "html":
        target = Path(app.outdir) / WHOLE
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(Path(app.srcdir) / WHOLE, target)


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", copy_outside)
    app.connect("source-read", link_outside)
    app.connect("source-read", link_whole)
    app.connect("build-finished", copy_whole)
