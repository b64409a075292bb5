"""Groups of commands that know the nearest name, and groups with a default command.

`mlcycle infer photo.jpg` is `mlcycle infer image photo.jpg`: where the first word is no command of the group, the
default one is meant. A file that is called like a command can be given as ./dir.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup

from mlcycle.errors import UsageError


class Group(TyperGroup):
    """A group of commands; a misspelt one names the nearest, and none at all shows the help and exits 2."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            _help_and_exit(ctx)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None:
            near = get_close_matches(args[0], self.list_commands(ctx), n=1)
            hint = f"did you mean {ctx.command_path} {near[0]}?" if near else f"see {ctx.command_path} --help"
            raise UsageError(f"there is no command {ctx.command_path} {args[0]}", hint)
        return super().resolve_command(ctx, args)


class DefaultGroup(Group):
    """A group whose `default` command is run when the first word names no command; see `default_group`."""

    default: ClassVar[str] = ""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args and self._needs_arguments(ctx) and not ctx.resilient_parsing:
            _help_and_exit(ctx)
        if not ctx.resilient_parsing and not self._names_a_command(ctx, args):
            args = [self.default, *args]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return ["[COMMAND]", "[ARGS]..."]

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        path = ctx.command_path
        formatter.write_paragraph()
        formatter.write_text(f"Without COMMAND, {self.default} is meant: {path} … is {path} {self.default} …")
        formatter.write_text(f"Its options: {path} {self.default} --help")
        super().format_epilog(ctx, formatter)

    def _needs_arguments(self, ctx: Any) -> bool:
        command = self.get_command(ctx, self.default)
        return command is not None and any(each.required for each in command.params)

    def _names_a_command(self, ctx: Any, args: list[str]) -> bool:
        first = args[0] if args else ""
        if first in ctx.help_option_names or self.get_command(ctx, first) is not None:
            return True
        # A bare word that is nearly a command and no file is a slip, not an image or a recipe.
        if first.isalpha() and not Path(first).exists():
            return bool(get_close_matches(first, self.list_commands(ctx), n=1, cutoff=0.7))
        return False


def default_group(name: str) -> type[DefaultGroup]:
    """Returns the class of a group whose default command has this name: `typer.Typer(cls=default_group("fit"))`."""
    return type("DefaultGroup", (DefaultGroup,), {"default": name})


def _help_and_exit(ctx: Any) -> None:
    typer.echo(ctx.get_help(), err=True)
    ctx.exit(2)
