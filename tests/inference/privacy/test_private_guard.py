"""What the guard of --private allows and refuses, in a subprocess, because a guard cannot be removed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import environment

# Runs each line; "inside" and "outside" are folders with a file in each, and a link inside refers outside. Prints
# whether the guard refused the line.
TRIAL = """
import ctypes, json, os, shutil, socket, sqlite3, subprocess, sys, tempfile, urllib.request
from pathlib import Path
from mlcycle.inference.privacy import guard
inside, outside, lines = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
os.chdir(inside.parent)
guard.enforce([inside], inside)
above = os.open(outside, os.O_RDONLY)
within = os.open(inside, os.O_RDONLY)
results = {}
for line in lines:
    try:
        exec(line)
        results[line] = "done"
    except guard.RefusedError:
        results[line] = "refused"
print(json.dumps([results, guard.report(), guard.stack()]))
"""
REFUSED = [
    "socket.socket()",
    "socket.getaddrinfo('localhost', 80)",
    "urllib.request.urlopen('http://127.0.0.1:9/')",
    "subprocess.run(['true'])",
    "os.system('true')",
    "os.fork()",
    "os.posix_spawn('/bin/true', ['true'], {})",
    "os.execv('/bin/true', ['true'])",
    "ctypes.CDLL('libm.so.6')",
    "(outside / 'new').write_text('')",
    "open(outside / 'file', 'a')",
    "open(outside / 'file', 'r+')",
    "os.open(bytes(outside / 'new'), os.O_CREAT)",
    "os.open('new', os.O_CREAT | os.O_WRONLY, dir_fd=above)",
    "open('relative', 'w')",
    "open(inside / 'link', 'w')",
    "open(inside / '..' / 'outside' / 'file', 'w')",
    "(inside / 'away').symlink_to(outside); open(inside / 'away' / 'file', 'w')",
    "(outside / 'file').rename(inside / 'taken')",
    "(inside / 'file').rename(outside / 'given')",
    "os.link(outside / 'file', inside / 'same')",
    "os.symlink('x', outside / 'new')",
    "os.remove(outside / 'file')",
    "os.remove('file', dir_fd=above)",
    "os.mkdir(outside / 'new')",
    "os.mkdir('new', dir_fd=above)",
    "os.truncate(outside / 'file', 0)",
    "os.chmod(outside / 'file', 0o777)",
    "os.fchmod(above, 0o777)",
    "os.utime(outside / 'file')",
    "shutil.copyfile(inside / 'file', outside / 'copy')",
    "shutil.rmtree(outside)",
    "tempfile.mkstemp(dir=outside)",
    "sqlite3.connect(outside / 'base')",
    "sqlite3.connect('file:base', uri=True)",
    "guard.enforce.__globals__['_guard'].see('syslog.syslog', ())",
]
DONE = [
    "(inside / 'new').write_text('x')",
    "(inside / 'new').rename(inside / 'newer')",
    "os.remove('newer', dir_fd=within)",
    "(inside / 'a' / 'b').mkdir(parents=True)",
    "(inside / 'a' / 'b' / 'c').touch()",
    "shutil.rmtree(inside / 'a')",
    "os.mkdir(inside / 'd'); (inside / 'd').chmod(0o700)",
    "tempfile.TemporaryFile().write(b'x')",
    "sqlite3.connect(inside / 'base').execute('create table a (b)')",
    "sqlite3.connect(':memory:')",
    "(outside / 'file').read_text()",
    "open(os.devnull, 'w')",
    "ctypes.CDLL(None)",
    "os.makedirs(inside.parent, exist_ok=True)",
]


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], dict, str, Path]:
    folder = tmp_path_factory.mktemp("guard")
    inside, outside = folder / "inside", folder / "outside"
    for each in (inside, outside):
        each.mkdir()
        (each / "file").write_text("as it was")
    (inside / "link").symlink_to(outside / "file")
    words = [sys.executable, "-c", TRIAL, str(inside), str(outside), json.dumps([*REFUSED, *DONE])]
    done = subprocess.run(words, capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 0, done.stderr
    return *json.loads(done.stdout), outside


def test_actions_outside_are_refused_and_others_allowed(trial: tuple[dict[str, str], dict, str, Path]) -> None:
    results = trial[0]
    assert {line for line, result in results.items() if result == "refused"} == set(REFUSED)
    assert {line for line, result in results.items() if result == "done"} == set(DONE)


def test_nothing_outside_has_changed(trial: tuple[dict[str, str], dict, str, Path]) -> None:
    outside = trial[3]
    assert {path.name: path.read_text() for path in outside.iterdir()} == {"file": "as it was"}
    assert sorted(path.name for path in outside.parent.iterdir()) == ["inside", "outside"]


def test_refusals_are_counted_and_the_first_has_a_stack_trace(trial: tuple[dict[str, str], dict, str, Path]) -> None:
    _, report, stack, _ = trial
    assert report["refused"]["socket.__new__"] == 1
    assert sum(report["refused"].values()) == len(REFUSED)
    assert set(report["enforced"]) >= {"socket.*", "subprocess.*", "open", "os.rename", "sqlite3.connect"}
    assert "in <module>" in stack


def test_a_process_has_one_guard(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from mlcycle.errors import UsageError\n"
        "from mlcycle.inference.privacy import guard\n"
        "guard.enforce([], None)\n"
        "try: guard.enforce([Path('/')], None)\n"
        "except UsageError: print('one')\n"
        "try: open(sys.argv[1], 'w')\n"
        "except OSError as problem: print(problem.errno, problem.filename)"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "new")]
    done = subprocess.run(words, capture_output=True, text=True, env=environment(), check=False)
    assert (done.stdout.split(), list(tmp_path.iterdir())) == (["one", "1", "None"], [])
