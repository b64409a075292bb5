"""`mlcycle model`: the group of commands for model files."""

from __future__ import annotations

import typer

from mlcycle.cli.group import lazy_group

PANELS = {
    "Examine": {
        "inspect": "model.inspect",
        "verify": "model.verify",
        "diff": "model.diff",
        "selftest": "model.selftest",
        "reproduce": "model.reproduce",
    },
    "Sign": {"sign": "model.sign", "keys": "model.keys"},
}

app = typer.Typer(cls=lazy_group(PANELS))


@app.callback()
def model() -> None:
    """Inspect, verify, compare and sign model files.

    Example:  mlcycle model inspect models/face.onnx
    """
