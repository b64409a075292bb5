"""Imports at startup: `--help` must not import the packages that commands need."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import environment

from mlcycle.cli.app import PANELS
from mlcycle.cli.group import first_paragraph
from mlcycle.cli.reference import commands

HEAVY = {"numpy", "PIL", "onnxruntime", "onnx", "torch", "torchvision", "scipy", "rich", "pydantic", "cryptography"}


def loaded_by(*arguments: str) -> set[str]:
    code = (
        "import sys; from mlcycle.cli import run; code = run(sys.argv[1:]);"
        "sys.stderr.write(' '.join({name.partition('.')[0] for name in sys.modules})); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env=environment(),
        check=True,
        timeout=60,
    )
    return set(done.stderr.split())


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["infer", "image", "--help"], ["--version"]])
def test_help_imports_no_heavy_package(arguments):
    assert not loaded_by(*arguments) & HEAVY


def test_every_command_has_help_with_an_example():
    found = list(commands())
    assert {("mlcycle",), ("mlcycle", "freeze"), ("mlcycle", "infer", "dir")} <= {tuple(words) for words, _ in found}
    for words, command in found:
        assert command.help, words
        assert f"Example:  {' '.join(words[:1])} " in command.help, words


@pytest.mark.parametrize("words", [(), ("model",), ("model", "keys"), ("train",)])
def test_a_group_s_help_lists_whole_first_paragraphs_within_80_columns(words, mlcycle, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = mlcycle(*words, "--help").out
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    joined = " ".join(text.split()).replace("- ", "-")
    members = [command for path, command in commands() if tuple(path[1:-1]) == words and path[1:]]
    assert len(members) > 1
    for command in members:
        assert first_paragraph(command.help).replace("- ", "-") in joined


def test_the_main_help_groups_the_commands(mlcycle):
    text = mlcycle("--help").out
    assert [line for line in text.splitlines() if line and line[0] != " "][2:] == [f"{heading}:" for heading in PANELS]


def test_completion_suggests_commands(process):
    env = {"_MLCYCLE_COMPLETE": "complete_bash", "COMP_WORDS": "mlcycle train rec", "COMP_CWORD": "2"}
    outcome = process(env=env)
    assert outcome.code == 0
    assert outcome.out.split() == ["recipes"]


def test_infer_on_an_image_imports_no_package_for_other_inputs(astronaut):
    loaded = loaded_by("infer", str(astronaut))
    assert {"numpy", "PIL", "onnxruntime"} <= loaded
    assert not loaded & {"av", "pillow_heif", "pyarrow", "cryptography"}


@pytest.mark.parametrize("imported", [False, True])
def test_garbage_is_collected_at_the_end_only_if_torch_was_imported(imported):
    """What comes with torch reports leaks otherwise; without torch, collecting would slow a cold start."""
    code = (
        "import gc, sys, types; from mlcycle.cli import main; gc.freeze = lambda: print('frozen');"
        f"sys.modules.update({{'torch': types.ModuleType('torch')}} if {imported} else {{}});"
        "sys.argv = ['mlcycle', '--version']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True)
    assert ("frozen" in done.stdout) is not imported
