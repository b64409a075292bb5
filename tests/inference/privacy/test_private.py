"""`mlcycle infer --private` in a process: no name leaks, nothing is written elsewhere, refusals are reported."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import Outcome, environment
from PIL import Image

from mlcycle.cli.infer.options import InferOptions
from mlcycle.cli.infer.private import _without_paths
from mlcycle.cli.infer.sources import sources_of
from mlcycle.errors import InputError
from mlcycle.inference.privacy.hashed_names import load_names
from mlcycle.inference.sources import from_folder

pytest_plugins = ("tiny_album",)

Run = Callable[..., Outcome]
HASHED = re.compile(r"[0-9a-f]{32}\.(jpg|png)")
# A stand-in for a malicious package: while an image is resized, it tries something else.
MEDDLER = """
import socket, sys
from mlcycle.inference import letterbox
original = letterbox.shrink
def meddling(*arguments):
    for attempt in (lambda: open("ELSEWHERE", "w"), lambda: socket.create_connection(("localhost", 9))):
        try:
            attempt()
        except OSError:
            pass
    return original(*arguments)
letterbox.shrink = meddling
from mlcycle.cli import run
sys.exit(run(sys.argv[1:]))
"""


class Holiday(NamedTuple):
    """A private run of a folder with confidential names."""

    folder: Path
    run: Path
    arguments: tuple[str | Path, ...]
    outcome: Outcome
    before: dict[str, tuple[int, int]]


@pytest.fixture(scope="module")
def holiday(tmp_path_factory: pytest.TempPathFactory, pixels: np.ndarray, tiny: Path) -> Holiday:
    folder, run = tmp_path_factory.mktemp("Somewhere") / "Secretplace", tmp_path_factory.mktemp("runs") / "run"
    (folder / "Withwhom").mkdir(parents=True)
    exif = Image.Exif()
    exif[0x010E] = "Whereabouts"
    image = Image.fromarray(pixels)
    image.save(folder / "Whoitis.JPEG", exif=exif, comment=b"Whereabouts", quality=95)
    image.save(folder / "Withwhom" / "Whoitis-two.png")
    (folder / "Whoitis-broken.jpg").write_text("this is not an image\n")
    (folder / "Whoitis-header.pgm").write_bytes(b"P5\nWhoitis 9\n255\n" + bytes(81))
    arguments = ("infer", "dir", folder, "--model", tiny, "--private", "--out", run)
    arguments += ("--redact", "blur", run / "redacted", "--annotate", run / "deep" / "er")
    before = times(folder)
    return Holiday(folder, run, arguments, command(*arguments, "-v", "--resume"), before)


def command(
    *arguments: str | Path, code: Sequence[str] = ("-m", "mlcycle"), under: Sequence[str] = (), **how: Any
) -> Outcome:
    """Runs a command in a process, optionally with other code, and under another program."""
    words = [*under, sys.executable, *code, *map(str, arguments)]
    env = environment(how.pop("env", None))
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120, env=env, **how)
    return Outcome(done.returncode, done.stdout, done.stderr)


def times(folder: Path) -> dict[str, tuple[int, int]]:
    """Returns path → modification times of each file's contents and inode."""
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_ctime_ns) for path in [folder, *folder.rglob("*")]}


def everything(folder: Path) -> bytes:
    """Returns all names and all bytes of the files below a folder, including the ledger."""
    paths = sorted(folder.rglob("*"))
    names = b"\n".join(bytes(path.relative_to(folder)) for path in paths)
    return names + b"".join(path.read_bytes() for path in paths if path.is_file())


def records(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]


def test_no_name_leaks(holiday: Holiday) -> None:
    assert (holiday.outcome.code, holiday.outcome.out) == (3, "")
    assert "4 images, 2 faces, 2 failed" in holiday.outcome.err
    assert "redacted in RUN/redacted" in holiday.outcome.err
    left = everything(holiday.run) + holiday.outcome.err.encode()
    for name in ("Secretplace", "Withwhom", "Whoitis", "two", "Whereabouts", "Somewhere", "Exif"):
        assert name.encode() not in left, name
    for path in holiday.folder.rglob("*.*"):  # the ledger has neither the times nor the sizes of images
        assert str(path.stat().st_mtime_ns).encode() not in left
    assert times(holiday.folder) == holiday.before
    assert json.loads((holiday.run / "summary.json").read_text())["private"]["refused"] == {}
    for record in records(holiday.run):
        assert HASHED.fullmatch(record["input"])
        if record["status"] == "ok":
            assert record["redacted"] == f"redacted/{record['input']}"
            assert (holiday.run / record["annotated"]).is_file()


def test_the_key_allows_resuming_and_printing_names(holiday: Holiday, mlcycle: Run, tmp_path: Path) -> None:
    folder, run = tmp_path / "album", tmp_path / "run"
    shutil.copytree(holiday.folder, folder)
    shutil.copytree(holiday.run, run)
    assert (run / "names.key").stat().st_mode & 0o777 == 0o600
    shutil.copyfile(folder / "Whoitis.JPEG", folder / "later.jpg")
    moved = {holiday.folder: folder, holiday.run: run}
    arguments = [moved.get(each, each) for each in holiday.arguments[:8]]
    arguments += ["--redact", "blur", run / "redacted", "--annotate", run / "deep" / "er", "--resume"]
    on = command(*arguments)
    assert "4 images already finished in RUN" in on.err
    assert "1 image, 1 face, 0 failed" in on.err
    lines = mlcycle("infer", "names", run, folder).out.splitlines()
    names = {each["input"]: each["name"] for each in map(json.loads, lines)}
    assert {names[each["input"]]: each["status"] for each in records(run)} == {
        "Whoitis-broken.jpg": "error",
        "Whoitis-header.pgm": "error",
        "Whoitis.JPEG": "ok",
        "Withwhom/Whoitis-two.png": "ok",
        "later.jpg": "ok",
    }
    assert "was started with private yes, not none" in mlcycle(*[x for x in arguments if x != "--private"]).err
    (run / "names.key").unlink()
    lost = command(*arguments)
    assert (lost.code, (run / "names.key").exists()) == (2, False)
    assert re.search("RUN was started with names.key [0-9a-f]{16}, not none", lost.err)
    assert mlcycle("infer", "names", run, folder).code == 3


@pytest.mark.slow
def test_shards_depend_on_the_real_names_and_merge(holiday: Holiday, mlcycle: Run, tmp_path: Path) -> None:
    for copy in range(9):
        shutil.copyfile(holiday.folder / "Whoitis.JPEG", tmp_path / f"{copy}.jpg")
    common = ("infer", "dir", tmp_path, "--model", holiday.arguments[4])
    lines = mlcycle(*common, "--shard", "1/2", "--format", "jsonl").out.splitlines()
    own = {json.loads(line)["input"] for line in lines}
    runs = [tmp_path / "run-1", tmp_path / "run-2"]
    for number, run in enumerate(runs, 1):
        command(*common, "--private", "--shard", f"{number}/2", "--out", run)
    lines = mlcycle("infer", "names", runs[0], tmp_path).out.splitlines()
    names = {each["input"]: each["name"] for each in map(json.loads, lines)}
    assert {names[each["input"]] for each in records(runs[0])} == own
    assert not names.keys() & {each["input"] for each in records(runs[1])}
    assert "different keys" in mlcycle("infer", "merge", *runs, "--out", tmp_path / "whole").err
    inputs = [each["input"] for run in runs for each in records(run)]
    assert [each["input"] for each in records(tmp_path / "whole")] == sorted(inputs)
    assert len(inputs) == 9


def test_refused_actions_are_reported(holiday: Holiday, tmp_path: Path) -> None:
    elsewhere, run = tmp_path / "elsewhere", tmp_path / "run"
    words = (*holiday.arguments[:6], "--out", run, "--debug")
    outcome = command(*words, code=("-c", MEDDLER.replace("ELSEWHERE", str(elsewhere))))
    assert outcome.code == 7
    assert "--private refused actions: open (2 times), socket.getaddrinfo (2 times)" in outcome.err
    assert "in meddling" in outcome.err
    refused = json.loads((run / "summary.json").read_text())["private"]["refused"]
    assert refused == {"open": 2, "socket.getaddrinfo": 2}
    assert [each["status"] for each in records(run)].count("ok") == 2
    assert not elsewhere.exists()


def test_without_out_nothing_is_written(holiday: Holiday, tmp_path: Path) -> None:
    away = {"HOME": str(tmp_path), "XDG_CACHE_HOME": "", "TMPDIR": str(tmp_path)}
    outcome = command(*holiday.arguments[:6], "--format", "coco", env=away, cwd=tmp_path)
    assert (outcome.code, len(json.loads(outcome.out)["annotations"])) == (3, 2)
    assert len(HASHED.findall(outcome.out)) == 4
    assert "private: nothing was refused" in outcome.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_results_may_go_to_one_file(holiday: Holiday, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "faces.csv"
    words = ("infer", holiday.folder / "Whoitis.JPEG", "--model", tiny, "--private", "--out", out)
    assert command(*words).code == 0
    assert [path.name for path in out.parent.iterdir()] == ["faces.csv"]
    assert HASHED.match(out.read_text().splitlines()[1])
    again = command(*words)
    assert (again.code, "error: FILE already exists" in again.err) == (3, True)


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["dir", "Secret", "--private", "--redact", "blur", "away", "--out", "run"], 2, "must be in the run folder"),
        (["dir", "Secret", "--private"], 3, "no such folder: FOLDER"),
        (["@list", "--private"], 2, "names a path, which --private withholds"),
    ],
)
def test_errors_name_no_path(words: list[str], code: int, error: str, tmp_path: Path) -> None:
    (tmp_path / "list").write_text("http://example.org/Secret.jpg\n")
    outcome = command("infer", *words, cwd=tmp_path)
    assert (outcome.code, outcome.out) == (code, "")
    assert error in outcome.err
    for name in ("Secret", "away", "example", str(tmp_path)):
        assert name not in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["list"]


def test_a_run_processes_images_in_the_order_of_hashes(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number}.jpg").touch()
    found = from_folder(tmp_path, in_memory=True)
    options = InferOptions(out=tmp_path / "run", private=True, names=load_names(None))
    keys = [source.key for source in sources_of(found, options, keep_tree=True)]
    assert keys == sorted(keys)
    assert len(keys) == 20
    in_their_order = sources_of(found, replace(options, out=None), keep_tree=True)
    assert [source.path for source in in_their_order] == [source.path for source in found]


def test_a_traceback_has_no_hint_that_names_a_path() -> None:
    covered = _without_paths(InputError("it is taken", "remove /home/Secret/a.jpg"), {})
    assert "it is taken" in "".join(traceback.format_exception(covered))
    assert "Secret" not in "".join(traceback.format_exception(covered))


def test_it_needs_no_network_interface(holiday: Holiday, tmp_path: Path) -> None:
    isolated = ["unshare", "--map-root-user", "--net"]
    if not shutil.which("unshare") or subprocess.run([*isolated, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no namespaces here, or not permitted")
    interfaces = subprocess.run([*isolated, "cat", "/proc/net/dev"], capture_output=True, text=True, check=True)
    assert [line.split(":")[0].strip() for line in interfaces.stdout.splitlines()[2:]] == ["lo"]
    # With the same key the names are equal, so that all files can be compared.
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(holiday.run / "names.key", run)
    arguments = [str(each).replace(str(holiday.run), str(run)) for each in holiday.arguments]
    outcome = command(*arguments, under=isolated)
    assert (outcome.code, "private: nothing was refused" in outcome.err) == (3, True)
    assert records(run) == records(holiday.run)
    for kind in ("redacted", "deep"):
        assert everything(run / kind) == everything(holiday.run / kind)


@pytest.mark.slow
def test_no_system_call_opens_a_socket_or_writes_elsewhere(holiday: Holiday, tmp_path: Path) -> None:
    log, run = tmp_path / "calls", tmp_path / "run"
    calls = "trace=network,execve,open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,chmod"
    traced = ["strace", "-f", "-qq", "-s", "4096", "-e", calls, "-o", str(log)]
    if not shutil.which("strace") or subprocess.run([*traced, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no strace here, or not permitted")
    arguments = [str(each).replace(str(holiday.run), str(run)) for each in holiday.arguments]
    # Python writes bytecode of mlcycle's first modules before mlcycle can prevent it.
    command(*arguments, under=traced, env={"PYTHONDONTWRITEBYTECODE": "1"})
    lines = [line for line in log.read_text().splitlines() if "resumed>" not in line]
    assert not [line for line in lines if re.search(r"\b(socket|socketpair|connect|bind|sendto)\(", line)]
    changing = [
        line for line in lines if re.search(r"O_WRONLY|O_RDWR|O_CREAT|\b(creat|mkdir|rename|unlink|chmod)", line)
    ]
    assert len(changing) > 10
    assert [line for line in changing if f'"{run}' not in line] == []
    assert sum("execve(" in line for line in lines) == 1


def test_each_run_has_its_own_key(tmp_path: Path) -> None:
    first, second = load_names(tmp_path), load_names(tmp_path)
    assert first.name("a.JPG") != second.name("a.JPG")
    assert first.name("a.JPG").endswith(".jpg")
    assert first.name("page.tif").endswith(".png")
    assert first.name("video.MP4").endswith(".mp4")
    first.save_key(tmp_path)
    second.save_key(tmp_path)  # as in a second process: the first key is used
    assert second.name("a.JPG") == first.name("a.JPG") == load_names(tmp_path).name("a.JPG")
    assert HASHED.fullmatch(first.name(os.fsdecode(b"\xff/\xff.jpg")))
