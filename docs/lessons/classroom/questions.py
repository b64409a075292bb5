"""Questions whose answers are marked, and explained, right or wrong."""

from __future__ import annotations

from dataclasses import dataclass

import marimo as mo


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to a question: whether it is right, and why."""

    is_right: bool
    why: str


def right(why: str) -> Answer:
    """Returns a right answer; `why` is Markdown."""
    return Answer(True, why)


def wrong(why: str) -> Answer:
    """Returns a wrong answer; `why` is Markdown, and does not give the right one away."""
    return Answer(False, why)


def choose(question: str, answers: dict[str, Answer]) -> mo.ui.radio:
    """Returns a question with answers to choose from; its value is the chosen Answer, or None."""
    return mo.ui.radio(answers, label=f"**{question}**")


def number(question: str, start: float, stop: float, step: float = 1) -> mo.ui.form:
    """Returns a question for a number from `start` to `stop`; its value is None until one is entered."""
    return mo.ui.number(start, stop, step, label=f"**{question}**").form(submit_button_label="Check")


def mark(answer: Answer | None) -> mo.Html:
    """Shows whether an answer is right, and why; asks for one if there is none."""
    if answer is None:
        return mo.md("*Not answered yet.*")
    verdict, kind = ("Right.", "success") if answer.is_right else ("Not quite.", "warn")
    return mo.callout(mo.md(f"**{verdict}** {answer.why}"), kind=kind)
