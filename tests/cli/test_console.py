"""Output of the command line: results on stdout, messages on stderr, verbosity, and error messages."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mlcycle.cli import console, globals_first
from mlcycle.distribution import install_command
from mlcycle.errors import InputError, MissingExtraError
from mlcycle.extras import extra


def test_the_version_goes_to_stdout(mlcycle):
    import mlcycle as package

    assert mlcycle("--version") == (0, f"mlcycle {package.__version__}\n", "")


def test_help_goes_to_stdout_and_a_missing_command_is_a_usage_error(mlcycle):
    requested, bare = mlcycle("--help"), mlcycle()
    assert (requested.code, requested.err) == (0, "")
    assert (bare.code, bare.out) == (2, "")
    assert bare.err == requested.out


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["trian"], "no such command: mlcycle trian", "did you mean mlcycle train?"),
        (["zzz"], "no such command: mlcycle zzz", "see mlcycle --help"),
        (["train", "recipes", "lsit"], "no such command: mlcycle train recipes lsit", "recipes list?"),
        (["train", "recpies", "list"], "no such command: mlcycle train recpies", "mlcycle train recipes?"),
        (["--verson"], "no such option: --verson", "did you mean --version?"),
        (["train", "--reusme"], "no such option: --reusme", "did you mean --resume?"),
        (["train", "--quite"], "no such option: --quite", "did you mean --quiet?"),
        (["train", "--device", "gpu"], "invalid value for '--device': 'gpu' is not one of", "train fit --help"),
        (["train", "--out"], "'--out' requires an argument", "see mlcycle train fit --help"),
        (["-q", "infer", "a.jpg", "--threshold"], "requires an argument", "see mlcycle infer image --help"),
        (["data", "check", "--split"], "requires an argument", "see mlcycle data check --help"),
        (["train", "recipes", "show"], "missing argument 'NAME'", "see mlcycle train recipes show --help"),
        (["train", "recipes", "show", "demo", "face-nano"], "unexpected extra argument", "recipes show --help"),
    ],
)
def test_usage_errors_are_one_sentence_and_one_hint(mlcycle, arguments, error, hint):
    outcome = mlcycle(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    sentence, advice = outcome.err.splitlines()
    assert sentence.startswith("error: ")
    assert error in sentence
    assert advice.startswith("hint: ")
    assert hint in advice


def test_global_options_may_stand_anywhere_before_a_double_dash():
    assert globals_first(["infer", "a.jpg", "-q", "--debug"]) == ["-q", "--debug", "infer", "a.jpg"]
    assert globals_first(["infer", "--", "-q"]) == ["infer", "--", "-q"]
    assert globals_first(["-v", "infer", "-v", "--", "--debug"]) == ["-v", "-v", "infer", "--", "--debug"]


def test_quiet_hides_messages_but_not_results_warnings_and_errors(capsys):
    for quiet, verbose, expected in [
        (False, False, "message\n"),
        (True, False, ""),
        (False, True, "message\ndetail\n"),
    ]:
        console.configure(quiet=quiet, verbose=verbose)
        console.say("message")
        console.detail("detail")
        console.warn("careful")
        console.fail("broken", "fix it")
        console.data("result")
        out, err = capsys.readouterr()
        assert out == "result\n"
        assert err == f"{expected}warning: careful\nerror: broken\nhint: fix it\n"
    console.configure()


def test_quiet_at_the_end_of_the_command_line(mlcycle, astronaut):
    assert "1 image" in mlcycle("infer", astronaut).err
    assert "1 image" not in mlcycle("infer", astronaut, "-q").err


def test_progress_bars_need_a_terminal(capsys):
    with console.progress("reading", 2) as advance:
        advance()
        advance(1)
    assert capsys.readouterr() == ("", "")


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
@pytest.mark.parametrize(
    ("data_to", "total", "beside_data", "drawn"),
    [
        ("file", 2, True, True),
        ("pipe", 2, True, False),
        ("terminal", 2, True, False),
        ("terminal", 2, False, True),
        ("terminal", 1, False, False),
    ],
)
def test_no_bar_beside_data_or_for_a_single_image(monkeypatch, tmp_path, data_to, total, beside_data, drawn):
    import pty

    console.configure()
    monkeypatch.setenv("TERM", "xterm")
    main, other = pty.openpty()
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(other, "w") as terminal, os.fdopen(writer, "w") as pipe, (tmp_path / "out").open("w") as file:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setattr(sys, "stdout", {"terminal": terminal, "pipe": pipe, "file": file}[data_to])
        with console.progress("detecting", total, beside_data=beside_data) as advance:
            advance()
        terminal.write("end")
        terminal.flush()
        output = b""
        while b"end" not in output:  # a terminal gives what it has so far
            output += os.read(main, 10_000)
        monkeypatch.undo()
    os.close(main)
    assert (b"detecting" in output) is drawn


def test_colour_needs_a_terminal(mlcycle):
    assert "\x1b" not in mlcycle("zzz").err


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
@pytest.mark.parametrize(
    ("changes", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_colour_on_a_terminal_unless_disabled(changes, coloured):
    import pty

    from conftest import environment

    main, other = pty.openpty()
    env = environment({"TERM": "xterm"} | changes)
    subprocess.run([sys.executable, "-m", "mlcycle", "zzz"], stderr=other, env=env, check=False, timeout=60)
    os.close(other)
    output = os.read(main, 10_000).decode()
    os.close(main)
    assert "no such command" in output
    assert ("\x1b[" in output) == coloured


@pytest.mark.training
def test_a_traceback_needs_debug(process, tmp_path):
    (tmp_path / "taken.yaml").write_text("")
    arguments = ["train", "recipes", "copy", "demo", "taken.yaml"]
    plain = process(*arguments, cwd=tmp_path)
    debug = process(*arguments, "--debug", cwd=tmp_path)
    assert plain.code == debug.code == InputError.exit_code
    assert "Traceback" not in plain.err
    assert "Traceback" in debug.err
    assert debug.err.endswith(plain.err)


@pytest.mark.training
def test_an_unexpected_error_is_one_sentence_and_has_a_traceback_with_debug(mlcycle, monkeypatch):
    from mlcycle.training.recipes import recipe_file

    def broken(name: str) -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(recipe_file, "find", broken)
    plain = mlcycle("train", "recipes", "show", "demo")
    assert plain == (
        1,
        "",
        "error: unexpected error: ZeroDivisionError: of all things\n"
        "hint: run again with --debug to see the traceback\n",
    )
    assert "in broken" in mlcycle("train", "recipes", "show", "demo", "--debug").err


def test_a_missing_package_names_its_extra_but_a_missing_module_of_mlcycle_does_not():
    with pytest.raises(MissingExtraError) as missing, extra("train", "mlcycle train"):
        import no_such_package_anywhere  # noqa: F401
    assert missing.value.exit_code == 2
    assert missing.value.hint == install_command("train")
    with pytest.raises(ModuleNotFoundError), extra("train", "mlcycle train"):
        import mlcycle.no_such_package  # noqa: F401


def test_a_name_that_is_not_utf8_is_written_as_its_bytes(tmp_path):
    from conftest import environment

    code = "from mlcycle.cli import _prepare_streams, console; _prepare_streams(); console.data('a\\udcffb')"
    env = environment({"PYTHONUTF8": "1"})
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=env, check=True, timeout=60)
    assert done.stdout.rstrip() == b"a\xffb"


def test_names_of_models_and_files_are_escaped_for_terminals(mlcycle, capfd, tmp_path):
    pytest.importorskip("onnx")
    from tiny_model import write_tiny_model

    for say in (console.say, console.detail, console.warn):
        console.configure(verbose=True)
        say("a\x1b[2Jb\nverified")
        assert capfd.readouterr().err.endswith("a\\x1b[2Jb\\nverified\n")
    console.configure()
    odd = write_tiny_model(tmp_path / "a\nverified 0000  good\x1b[2J.onnx")
    outcome = mlcycle("model", "verify", odd)
    assert outcome.code == 0
    assert outcome.out.count("\n") == 1
    assert "\x1b" not in outcome.out + outcome.err
