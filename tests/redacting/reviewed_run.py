"""What the page of a run holds, files of decisions as it saves them, and the copies."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

# The options that make a bar's ends, which fill a fifth of its box, a doubtful region.
LOW = ("--threshold", "0.1")


def page_of(run: Path) -> dict[str, Any]:
    """Returns what the page of a run holds."""
    text = (run / "review.html").read_text("utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    return json.loads(found[1])


def report_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "report.json").read_text())


def saved(run: Path, to: Path, decisions: dict[str, dict[str, Any]]) -> Path:
    """Writes the decisions on images by their names, as the page saves them; returns the file."""
    page = page_of(run)
    images = {each["input"]: each for each in page["images"]}
    entries = [
        {name: images[key][name] for name in ("input", "part", "digest")}
        | {"accepted": False, "removed": [], "added": []}
        | decision
        for key, decision in decisions.items()
    ]
    document = {"format": "mlcycle-decisions", "schema_version": 1, "run": page["run"], "images": entries}
    to.write_text(json.dumps(document))
    return to


def copies(run: Path) -> dict[str, tuple[int, bytes]]:
    """Returns name → time of writing and bytes of each copy."""
    folder = run / "redacted"
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def pixels_of(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)
