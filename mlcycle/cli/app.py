"""The tree of commands. Each group or command stands in a file of its own."""

from __future__ import annotations

import importlib
from typing import Annotated, Any

import typer

import mlcycle
from mlcycle.cli import console
from mlcycle.cli.group import Group

# Each command and its file, in the order of the work: data, training, model files, inference.
COMMANDS = {
    "data": "data.data",
    "train": "train.train",
    "freeze": "freeze",
    "reproduce": "model.reproduce",
    "export": "export",
    "keys": "model.keys",
    "sign": "model.sign",
    "infer": "infer.infer",
    "inspect": "model.inspect",
    "verify": "model.verify",
    "diff": "model.diff",
    "selftest": "model.selftest",
    "evaluate": "evaluate",
    "bench": "bench",
    "doctor": "doctor",
    "demo": "demo",
}


class Root(Group):
    """All commands, in the order of the work; a command's file is imported when the command is needed."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in COMMANDS and cmd_name not in self.commands:
            self.commands[cmd_name] = _load(cmd_name)
        return self.commands.get(cmd_name)


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


def _load(name: str) -> Any:
    """Makes a command, or a group of them, of what its file declares."""
    module = importlib.import_module(f"mlcycle.cli.{COMMANDS[name]}")
    if not hasattr(module, "app"):
        alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        alone.command(name)(getattr(module, name))
        return _paths_as_they_are(typer.main.get_command(alone))
    module.app.rich_markup_mode = None  # as here; else its help would bring in all of rich
    group = typer.main.get_group(module.app)
    group.name = name
    return _paths_as_they_are(group)


def _paths_as_they_are(command: Any) -> Any:
    """Lets whoever reads a file say that it may not be read: to the parser it would be a wrong command line."""
    for each in getattr(command, "commands", {}).values():
        _paths_as_they_are(each)
    for parameter in command.params:
        if hasattr(parameter.type, "readable"):
            parameter.type.readable = False
    return command
