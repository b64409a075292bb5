"""The name of the installable package, and where this one came from.

On PyPI, `mlcycle` is a package of somebody else. The import package and the command have that name all the same.
"""

from __future__ import annotations

import shlex
from pathlib import Path

NAME = "mlcycle-faces"


def install_command(extra: str = "", *options: str) -> str:
    """Returns the pip command that installs this package from where it came from, with an extra of it.

    It names the checkout or the wheel that this package was installed from, as long as that exists; else the package
    by its name on PyPI.

    Args:
        extra: as in pyproject.toml: "train".
        options: of `pip install`.
    """
    checkout = Path(__file__).parent.parent
    if (checkout / "pyproject.toml").is_file():
        source, editable = str(checkout), ["--editable"]
    else:
        source, editable = str(_origin() or NAME), []
    words = ["pip", "install", *options, *editable, f"{source}[{extra}]" if extra else source]
    return shlex.join(words)


def _origin() -> Path | None:
    """Returns the checkout or wheel that this package was installed from, as pip recorded it (PEP 610)."""
    import json
    from importlib import metadata
    from urllib.parse import unquote

    try:
        origin = json.loads(metadata.distribution(NAME).read_text("direct_url.json") or "{}")
    except (metadata.PackageNotFoundError, ValueError):
        return None
    scheme, _, place = origin.get("url", "").partition("://")
    path = Path(unquote(place))
    return path if scheme == "file" and path.exists() else None
