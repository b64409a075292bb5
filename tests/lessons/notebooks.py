"""The lessons as the tests read them: their questions, found in the source without running it."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from classroom.questions import right, wrong

CHECKOUT = Path(__file__).parents[2]
FOLDER = CHECKOUT / "docs" / "lessons"
LESSONS = sorted(FOLDER.glob("[1-9]_*.py"))


@dataclass(frozen=True)
class Question:
    """A question to choose an answer to, the name of its widget, and its answers: text → whether it is right."""

    name: str
    text: str
    answers: dict[str, bool]


def questions(lesson: Path) -> list[Question]:
    """Returns the questions of a lesson that are made with `choose`, in order."""
    found = []
    for node in ast.walk(ast.parse(lesson.read_text("utf-8"))):
        match node:
            case ast.Assign(
                targets=[ast.Name(name)], value=ast.Call(func=ast.Name("choose"), args=[text, ast.Dict(keys, values)])
            ):
                answers = {
                    ast.literal_eval(key): each.func.id == "right" for key, each in zip(keys, values, strict=True)
                }
                found.append(Question(name, _text(text), answers))
    return found


def judges(lesson: Path) -> list[str]:
    """Returns the names of a lesson's functions that mark an answer."""
    tree = ast.parse(lesson.read_text("utf-8"))
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("judge_")]


def judging(number: int) -> SimpleNamespace:
    """Returns the functions of a lesson that mark an answer, ready to call, without running the lesson."""
    [lesson] = [each for each in LESSONS if each.name.startswith(f"{number}_")]
    names = judges(lesson)
    body = [node for node in ast.parse(lesson.read_text("utf-8")).body if getattr(node, "name", "") in names]
    for node in body:
        node.decorator_list = []
    known = {"right": right, "wrong": wrong}
    exec(compile(ast.Module(body, []), lesson.name, "exec"), known)
    return SimpleNamespace(**{name: known[name] for name in names})


def _text(node: ast.expr) -> str:
    """Returns a text, without what is computed in it."""
    if isinstance(node, ast.JoinedStr):
        return "".join(each.value for each in node.values if isinstance(each, ast.Constant))
    return ast.literal_eval(node)
