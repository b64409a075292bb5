"""Groups with a default command."""

from __future__ import annotations

from typing import Annotated

import pytest
import typer

from mlcycle.cli.group import default_group
from mlcycle.errors import UsageError

USAGE_PROBLEM = typer.BadParameter.__bases__[0]


def call(app: typer.Typer, *arguments: str) -> object:
    return typer.main.get_command(app).main(list(arguments), prog_name="tool", standalone_mode=False)


@pytest.fixture
def calls() -> list[tuple]:
    return []


@pytest.fixture
def app(calls) -> typer.Typer:
    """A group in which the default command needs an argument, as in `mlcycle infer`."""
    app = typer.Typer(cls=default_group("image"), rich_markup_mode=None)

    @app.command()
    def image(
        images: Annotated[list[str], typer.Argument()], form: Annotated[str, typer.Option("--format")] = "table"
    ) -> None:
        calls.append(("image", images, form))

    @app.command("dir")
    def folder(folder: str) -> None:
        calls.append(("dir", folder))

    return app


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["photo.jpg"], ("image", ["photo.jpg"], "table")),
        (["image", "photo.jpg"], ("image", ["photo.jpg"], "table")),
        (["--format", "json", "a.jpg", "b.jpg"], ("image", ["a.jpg", "b.jpg"], "json")),
        (["a.jpg", "--format", "json"], ("image", ["a.jpg"], "json")),
        (["dir", "images"], ("dir", "images")),
        (["./dir"], ("image", ["./dir"], "table")),
        (["a.jpg", "dir"], ("image", ["a.jpg", "dir"], "table")),
        (["--", "-odd.jpg"], ("image", ["-odd.jpg"], "table")),
        (["--", "dir"], ("image", ["dir"], "table")),
        (["-"], ("image", ["-"], "table")),
        (["image", "dir"], ("image", ["dir"], "table")),
    ],
)
def test_the_default_command_runs_unless_another_is_named(app, calls, arguments, expected):
    call(app, *arguments)
    assert calls == [expected]


def test_a_missing_argument_prints_the_help_and_is_a_usage_error(app, calls, capsys):
    assert call(app) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Usage: tool [COMMAND]" in err
    assert calls == []


def test_the_help_lists_the_commands_and_names_the_default(app, capsys):
    call(app, "--help")
    out = capsys.readouterr().out
    assert "dir" in out
    assert "tool ARGS means tool image ARGS" in out


def test_help_after_an_argument_is_that_of_the_default_command(app, capsys):
    call(app, "photo.jpg", "--help")
    assert "--format" in capsys.readouterr().out


def test_a_misspelt_command_is_an_error_unless_a_file_has_its_name(app, calls, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="no such command: tool imgae") as problem:
        call(app, "imgae", "photo.jpg")
    assert problem.value.hint == "did you mean tool image?"
    (tmp_path / "imgae").touch()
    call(app, "imgae")
    assert calls == [("image", ["imgae"], "table")]


def test_an_unknown_option_suggests_the_nearest(app):
    with pytest.raises(USAGE_PROBLEM) as wrong:
        call(app, "--frmat", "json", "a.jpg")
    assert list(wrong.value.possibilities) == ["--format"]


def test_a_default_command_without_required_arguments_runs():
    calls = []
    app = typer.Typer(cls=default_group("fit"), rich_markup_mode=None)
    app.command("fit")(lambda: calls.append("fit"))
    app.command("other")(lambda: calls.append("other"))
    call(app)
    assert calls == ["fit"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["folder"], ("dir", "folder")),
        (["folder", "folder"], ("image", ["folder", "folder"], "table")),
        (["a.jpg", "folder"], ("image", ["a.jpg", "folder"], "table")),
        (["folder", "--format", "json"], ("image", ["folder"], "json")),
        (["image", "folder"], ("image", ["folder"], "table")),
        (["a.jpg", "--format", "folder"], ("image", ["a.jpg"], "folder")),
    ],
)
def test_a_folder_alone_has_its_own_command(app, calls, tmp_path, monkeypatch, arguments, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    app.info.cls = default_group("image", of_folder="dir")
    call(app, *arguments)
    assert calls == [expected]
