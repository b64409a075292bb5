"""Groups of commands: with suggestions for misspelt names, with a default command, or imported on demand.

`mlcycle infer photo.jpg` means `mlcycle infer image photo.jpg`: if the first word is not a command of the group, its
default command runs, and for a folder another one, if the group has one. A file that has the name of a command is given
as ./dir.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup

from mlcycle.errors import UsageError

# Typer exports this usage error; its base class is that of all usage errors, in every version of Typer.
_USAGE_PROBLEM: type[Exception] = typer.BadParameter.__bases__[0]
Panels = Mapping[str, Mapping[str, str]]


class Group(TyperGroup):
    """A group of commands. A misspelt command gets a suggestion; no command at all prints the help and exits 2."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            _help_and_exit(ctx)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None:
            near = get_close_matches(args[0], self.list_commands(ctx), n=1)
            hint = f"did you mean {ctx.command_path} {near[0]}?" if near else f"see {ctx.command_path} --help"
            raise UsageError(f"no such command: {ctx.command_path} {args[0]}", hint)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Writes the whole first paragraph of each command's help; Typer would cut it to one line."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command: Any = self.get_command(ctx, name)
            panels.setdefault(self.panel_of(name), []).append((name, first_paragraph(command.help)))
        for heading, rows in panels.items():
            with formatter.section(heading):
                formatter.write_dl(rows)

    def panel_of(self, name: str) -> str:
        """Returns the heading under which the help lists a command."""
        return "Commands"


class LazyGroup(Group):
    """A group that imports a command's module when the command is needed; see `lazy_group`."""

    panels: ClassVar[Panels] = {}

    def list_commands(self, ctx: Any) -> list[str]:
        return [name for commands in self.panels.values() for name in commands]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        module = self.panels.get(self.panel_of(cmd_name), {}).get(cmd_name)
        if module is not None and cmd_name not in self.commands:
            self.commands[cmd_name] = _load(cmd_name, module)
        return self.commands.get(cmd_name)

    def panel_of(self, name: str) -> str:
        return next((heading for heading, commands in self.panels.items() if name in commands), "")


class DefaultGroup(Group):
    """A group that runs its `default` command if the first word is not a command; see `default_group`."""

    default: ClassVar[str] = ""
    of_folder: ClassVar[str] = ""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args and self._needs_arguments(ctx) and not ctx.resilient_parsing:
            _help_and_exit(ctx)
        if not self._names_a_command(ctx, args) and (args or not ctx.resilient_parsing):
            args = [self._default_of(ctx, args), *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Completes commands, and options and the first argument of commands that run without being named."""
        completed = super().shell_complete(ctx, incomplete)
        for name in filter(None, (self.default, self.of_folder)):
            command: Any = self.get_command(ctx, name)
            completed += command.shell_complete(ctx, incomplete)
            for argument in [each for each in command.params if each.param_type_name == "argument"][:1]:
                completed += [each for each in argument.shell_complete(ctx, incomplete) if each.type == "plain"]
        return list({each.value: each for each in completed}.values())

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return ["[COMMAND]", "[ARGS]..."]

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        path = ctx.command_path
        formatter.write_paragraph()
        formatter.write_text(f"The default command is {self.default}: {path} ARGS means {path} {self.default} ARGS.")
        if self.of_folder:
            formatter.write_text(f"{path} FOLDER means {path} {self.of_folder} FOLDER.")
        super().format_epilog(ctx, formatter)
        command: Any = self.get_command(ctx, self.default)
        own = typer.Context(command, parent=ctx, info_name=self.default)
        records = (each.get_help_record(own) for each in command.get_params(own) if each.name != "help")
        with formatter.section(f"Arguments and options of {self.default}"):
            formatter.write_dl([record for record in records if record])

    def _needs_arguments(self, ctx: Any) -> bool:
        command = self.get_command(ctx, self.default)
        return command is not None and any(each.required for each in command.params)

    def _default_of(self, ctx: Any, args: list[str]) -> str:
        """Returns the command of these arguments: that of a folder, if they name one and nothing else."""
        command: Any = self.get_command(ctx, self.of_folder) if any(map(os.path.isdir, args)) else None
        if command is None:
            return self.default
        try:
            values, more, _ = command.make_parser(typer.Context(command, parent=ctx)).parse_args(list(args))
        except _USAGE_PROBLEM:  # an option of the other command
            return self.default
        named = [values[each.name] for each in command.params if each.param_type_name == "argument"] + more
        return self.of_folder if len(named) == 1 and os.path.isdir(named[0]) else self.default  # noqa: PTH112

    def _names_a_command(self, ctx: Any, args: list[str]) -> bool:
        first = args[0] if args else ""
        if first in ctx.help_option_names or self.get_command(ctx, first) is not None:
            return True
        # A word that resembles a command and is not a file is a typing error, not an image or a recipe.
        if first.isalpha() and not Path(first).exists():
            return bool(get_close_matches(first, self.list_commands(ctx), n=1, cutoff=0.7))
        return False


def default_group(name: str, of_folder: str = "") -> type[DefaultGroup]:
    """Returns the class of a group with this default command: `typer.Typer(cls=default_group("fit"))`.

    Args:
        of_folder: the default command if the only argument is a folder.
    """
    return type("DefaultGroup", (DefaultGroup,), {"default": name, "of_folder": of_folder})


def lazy_group(panels: Panels) -> type[LazyGroup]:
    """Returns the class of a group whose commands are imported on demand.

    Args:
        panels: heading in the help → command → its module below mlcycle.cli. The module has a Typer object `app`,
            which makes the command a group, or a function with the command's name.
    """
    return type("LazyGroup", (LazyGroup,), {"panels": panels})


def command_path(command: Any, arguments: Sequence[str]) -> str:
    """Returns the command that a command line runs, with its default commands: "mlcycle infer image"."""
    words, path = [each for each in arguments if not each.startswith("-")], ["mlcycle"]
    context: Any = None  # no group needs it to find its commands
    while isinstance(command, Group):
        name = words.pop(0) if words and command.get_command(context, words[0]) else getattr(command, "default", "")
        if not name:
            break
        command = command.get_command(context, name)
        path.append(name)
    return " ".join(path)


def first_paragraph(help_text: str | None) -> str:
    """Returns the first paragraph of a help text, as one line."""
    return " ".join((help_text or "").split("\n\n")[0].split())


def _load(name: str, module_name: str) -> Any:
    """Builds a command, or a group of commands, from the declarations in its module."""
    module = importlib.import_module(f"mlcycle.cli.{module_name}")
    if not hasattr(module, "app"):
        single = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        single.command(name)(getattr(module, name))
        return _without_path_checks(typer.main.get_command(single))
    module.app.rich_markup_mode = None  # otherwise its help imports all of rich
    group = typer.main.get_group(module.app)
    group.name = name
    return _without_path_checks(group)


def _without_path_checks(command: Any) -> Any:
    """Leaves it to the reader of a file to report that it is not readable; the parser would exit with code 2."""
    for each in getattr(command, "commands", {}).values():
        _without_path_checks(each)
    for parameter in command.params:
        if hasattr(parameter.type, "readable"):
            parameter.type.readable = False
    return command


def _help_and_exit(ctx: Any) -> None:
    typer.echo(ctx.get_help(), err=True)
    ctx.exit(2)
