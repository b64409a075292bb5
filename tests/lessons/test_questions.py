"""Every question of the lessons has one right answer, says why, is marked, and is on the teacher's sheet."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("marimo")

from classroom import questions
from notebooks import FOLDER, LESSONS, Question, judges, judging
from notebooks import questions as questions_of

pytestmark = pytest.mark.skipif(not LESSONS, reason="not a checkout")

QUESTIONS = [(lesson, question) for lesson in LESSONS for question in questions_of(lesson)]


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_says_first_what_one_will_know_and_has_enough_questions(lesson: Path) -> None:
    text = lesson.read_text("utf-8")
    beginning = text[text.index('mo.md("""') :][:1600]
    assert re.search(r"# \d\. ", beginning)
    assert "**Afterwards you will know**" in beginning
    assert re.search(r"You need about \d\d minutes", beginning)
    assert "## What to remember" in text
    assert len(questions_of(lesson)) + len(judges(lesson)) >= 5


@pytest.mark.parametrize(("lesson", "question"), QUESTIONS, ids=lambda each: getattr(each, "name", ""))
def test_a_question_has_one_right_answer_and_is_marked(lesson: Path, question: Question) -> None:
    assert sum(question.answers.values()) == 1
    assert len(question.answers) >= 2
    assert f"mark({question.name}.value)" in lesson.read_text("utf-8")


@pytest.mark.parametrize(("lesson", "question"), QUESTIONS, ids=lambda each: getattr(each, "name", ""))
def test_the_teachers_sheet_has_the_answer(lesson: Path, question: Question) -> None:
    sheet = (FOLDER / "teacher.md").read_text("utf-8")
    part = sheet[sheet.index(f"## {lesson.name[0]}. ") :].partition("\n## ")[0]
    [answer] = [text for text, is_right in question.answers.items() if is_right]
    assert answer in part.replace("\n", " ")


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_every_judge_is_used(lesson: Path) -> None:
    text = lesson.read_text("utf-8")
    assert all(f"mark({name}(" in text for name in judges(lesson))


def test_the_lessons_are_notebooks_without_a_fault() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "marimo", "check", "--strict", *map(str, LESSONS)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_mark_says_right_or_wrong_and_why() -> None:
    assert "Right." in questions.mark(questions.right("because")).text
    assert "because" in questions.mark(questions.right("because")).text
    assert "Not quite." in questions.mark(questions.wrong("since")).text
    assert "Not answered yet" in questions.mark(None).text


def test_lesson_1_and_the_others_train_the_same_run() -> None:
    def values(path: Path) -> list[str]:
        return re.findall(r'^ *"(schedule\.\w+)": (\d+),', path.read_text("utf-8"), re.MULTILINE)[:4]

    assert len(values(LESSONS[0])) == 4
    assert values(LESSONS[0]) == values(FOLDER / "classroom" / "practice.py")


def test_lesson_1_counts_weights() -> None:
    judge = judging(1).judge_first_layer
    assert judge(216).is_right
    assert judge(None) is None
    wrong = [judge(72), judge(27), judge(8)]
    assert not any(each.is_right for each in wrong)
    assert len({each.why for each in wrong}) == 3


def test_lesson_3_judges_when_to_stop_and_where_to_draw_the_line() -> None:
    lesson = judging(3)
    assert lesson.judge_stop(25, [0, 25, 50], [0.80, 0.85, 0.7]).is_right
    assert not lesson.judge_stop(50, [0, 25, 50], [0.80, 0.85, 0.7]).is_right
    missed, alarms = {0.3: 1.0, 0.6: 4.0, 0.9: 9.0}, {0.3: 20.0, 0.6: 2.0, 0.9: 0.0}
    counting = {each: lesson.judge_threshold(each, missed, alarms, 1) for each in missed}
    privacy = {each: lesson.judge_threshold(each, missed, alarms, 10) for each in missed}
    assert [each for each, answer in counting.items() if answer.is_right] == [0.6]
    assert [each for each, answer in privacy.items() if answer.is_right] == [0.3]
    assert "find more faces" in counting[0.9].why
    assert "avoid more false alarms" in counting[0.3].why


def test_lesson_4_judges_pages_gains_and_variants() -> None:
    lesson = judging(4)
    assert lesson.judge_page(18).is_right
    assert not any(lesson.judge_page(each).is_right for each in (0, 1, 20, 40, 100))
    assert lesson.judge_gain(60, 70.2, 10.0).is_right
    assert not any(lesson.judge_gain(each, 70.2, 10.0).is_right for each in (10, 70, 35))
    measured = {"small": (1.0, 0.6), "middle": (2.0, 0.8), "large": (5.0, 0.9)}
    variants = [SimpleNamespace(name=name, milliseconds=ms, ap50=ap50) for name, (ms, ap50) in measured.items()]
    judged = {each.name: lesson.judge_variant(each.name, 3.0, variants).is_right for each in variants}
    assert judged == {"small": False, "middle": True, "large": False}
    assert lesson.judge_variant(None, 3.0, variants) is None


def test_lesson_5_judges_hours_and_when_inference_has_caught_up() -> None:
    lesson = judging(5)
    assert lesson.judge_hours(3, 100.0).is_right
    wrong = [lesson.judge_hours(each, 100.0) for each in (0, 167, 10, 1000)]
    assert not any(each.is_right for each in wrong)
    assert "minutes" in wrong[1].why
    assert lesson.judge_even(50_000, 100.0).is_right
    assert not any(lesson.judge_even(each, 100.0).is_right for each in (0, 25_400, 254, 200_000))
    assert "two" in lesson.judge_even(25_400, 100.0).why
