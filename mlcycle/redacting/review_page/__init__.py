"""The page of a review: one file of HTML with its style, scripts and images, which loads nothing and sends nothing."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources
from typing import Any

from mlcycle.reporting import pages

# In the order in which they use each other.
_SCRIPTS = ("element.js", "decisions.js", "overlay.js", "drawing.js", "card.js", "page.js")


def render(page: dict[str, Any]) -> str:
    """Returns the page; `page` has what docs/review.md describes, and is in it as JSON.

    Only this script and this style can run in it, by their digests, and no text of an image's name becomes either.
    """
    style = pages.style() + _text("style.css")
    script = "\n".join(["'use strict';", "{", *map(_text, _SCRIPTS), "}"])
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    # A "<" could end the element that has the JSON.
    data = json.dumps(page, ensure_ascii=True, allow_nan=False).replace("<", "\\u003c")
    # The JSON last: a name in it may look like a place to fill.
    parts = {"POLICY": policy, "STYLE": style, "SCRIPT": script, "DATA": data}
    head, *rest = _text("index.html").split("%%")
    return head + "".join(parts.get(each, each) for each in rest)


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _text(name: str) -> str:
    return resources.files(__name__).joinpath(name).read_text("utf-8")
