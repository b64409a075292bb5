"""The tree of commands. Each group or command stands in a file of its own."""

from __future__ import annotations

import importlib
from typing import Annotated, Any

import typer

import mlcycle
from mlcycle.cli import console
from mlcycle.cli.group import Group

# Each command and its file, in the order of the story: a model is trained, frozen, exported, signed, asked.
COMMANDS = {
    "train": "train",
    "freeze": "freeze",
    "export": "export",
    "keys": "keys",
    "sign": "sign",
    "infer": "infer",
    "inspect": "inspect",
    "verify": "inspect",
    "evaluate": "evaluate",
    "bench": "bench",
    "doctor": "doctor",
    "demo": "demo",
}


class Root(Group):
    """All commands, in the order of the story; Typer would put groups last."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [name for name in COMMANDS if name in self.commands]


app = typer.Typer(cls=Root, add_completion=True, rich_markup_mode=None, pretty_exceptions_enable=False)


def _show_version(wanted: bool) -> None:
    if wanted:
        console.data(f"mlcycle {mlcycle.__version__}")
        raise typer.Exit


@app.callback()
def root(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors and warnings.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more of what is being done.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Train a face detector, freeze it into one file, run that file anywhere.

    Data goes to stdout, talk to stderr. -q, -v and --debug may stand anywhere on the line.

    Example:  mlcycle infer photo.jpg
    """
    console.configure(quiet=quiet, verbose=verbose, debug=debug)


def _register() -> None:
    for name, file in COMMANDS.items():
        module = importlib.import_module(f"mlcycle.cli.{file}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name)
        else:
            app.command(name)(getattr(module, name))


_register()
