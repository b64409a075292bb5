"""The tree of commands. Each group or command is declared in its own file."""

from __future__ import annotations

from typing import Annotated

import typer

import mlcycle
from mlcycle.cli import console
from mlcycle.cli.group import lazy_group

# Headings in the help, their commands, and the module of each command.
PANELS = {
    "Get started": {"demo": "demo"},
    "Train": {"train": "train.train", "freeze": "freeze"},
    "Use": {"infer": "infer.infer", "redact": "redact.redact", "serve": "serve", "evaluate": "evaluate"},
    "Data": {"data": "data.data"},
    "Model files": {"export": "export", "model": "model.model"},
    "This machine": {"bench": "bench.bench", "plan": "plan", "doctor": "doctor"},
}

app = typer.Typer(cls=lazy_group(PANELS), add_completion=True, rich_markup_mode=None, pretty_exceptions_enable=False)


def _show_version(requested: bool) -> None:
    if requested:
        console.data(f"mlcycle {mlcycle.__version__}")
        raise typer.Exit


@app.callback()
def root(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors and warnings.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print more messages.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Print the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Train a face detector, freeze it into one file, and run that file anywhere.

    Results go to stdout, messages to stderr. -q, -v and --debug can be anywhere on the command line.

    Example:  mlcycle infer photo.jpg
    """
    console.configure(quiet=quiet, verbose=verbose, debug=debug)
