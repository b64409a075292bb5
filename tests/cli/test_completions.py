"""The completions that a shell asks for when the user presses Tab."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlcycle.cli import run


@pytest.fixture
def complete(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Returns the words that complete the last one of a command line."""

    def completed(line: str) -> set[str]:
        monkeypatch.setenv("_MLCYCLE_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
        with pytest.raises(SystemExit):
            run([])
        return set(capsys.readouterr().out.split())

    return completed


def test_commands_and_options_are_completed_also_of_commands_that_are_not_named(
    complete, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    assert complete("mlcycle inf") == {"infer"}
    assert complete("mlcycle infer di") == {"dir"}
    assert {"--redact", "--require-signature", "--resume", "--retry-failed"} <= complete("mlcycle infer --re")
    assert "--resume" in complete("mlcycle infer folder --re")
    assert complete("mlcycle infer a.jpg --re") == {"--redact", "--require-signature"}


def test_models_and_operating_points_are_completed(complete) -> None:
    names = {"face-base", "face-nano"}
    for line in ("infer --model ", "infer a.jpg --model fa", "evaluate ", "model verify f", "bench f", "export f"):
        assert complete(f"mlcycle {line}") == names, line
    assert complete("mlcycle infer --at ") == {"balanced", "precise", "sensitive"}
    assert complete("mlcycle infer --model models/f") == set()  # the shell completes files


def test_recipes_are_completed(complete) -> None:
    pytest.importorskip("pydantic")
    assert complete("mlcycle train de") == {"demo"}
    assert complete("mlcycle train sweep de") == {"demo"}
    assert {"face-nano", "face-pico"} <= complete("mlcycle train recipes show fa")
