"""`mlcycle infer` for people and programs: messages, formats, exit codes, files."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Outcome, environment
from PIL import Image
from tiny_model import CONTRACT, tiny_bytes

from mlcycle.artifact.seal import write_sealed

pytest_plugins = ("tiny_album",)

Run = Callable[..., Outcome]


def test_the_table_has_a_sentence_for_one_face(mlcycle: Run, album: Path, tiny: Path) -> None:
    outcome = mlcycle("infer", album / "one.jpg", "--model", tiny)
    assert outcome.code == 0
    assert "That's a face." in outcome.out
    assert re.search(r"^ +(1\.000|0\.9\d\d) +300\.0 +40\.0 +380\.0 +150\.0$", outcome.out, re.MULTILINE)
    assert "1 image, 1 face, 0 failed" in outcome.err
    assert "(--model), on cpu (auto)" in outcome.err


def test_no_face_is_not_an_error_and_two_are_counted(mlcycle: Run, album: Path, tiny: Path) -> None:
    outcome = mlcycle("infer", "image", album / "none.jpg", album / "inside" / "two.png", "--model", tiny)
    assert outcome.code == 0
    assert "No face." in outcome.out
    assert "Those are 2 faces." in outcome.out


def test_a_corrupt_image_does_not_stop_the_others(mlcycle: Run, album: Path, tiny: Path) -> None:
    outcome = mlcycle("infer", "dir", album, "--model", tiny, "--format", "jsonl")
    assert outcome.code == 3
    records = [json.loads(line) for line in outcome.out.splitlines()]
    assert [(each["input"], each["status"], len(each["faces"])) for each in records] == [
        ("broken.jpg", "error", 0),
        ("inside/two.png", "ok", 2),
        ("none.jpg", "empty", 0),
        ("one.jpg", "ok", 1),
    ]
    assert records[0]["error"]["code"] == "not-an-image"
    assert "1 other file skipped" in outcome.err
    assert "4 images, 3 faces, 1 failed" in outcome.err


def test_a_folder_needs_no_command(mlcycle: Run, album: Path, tiny: Path, tmp_path: Path) -> None:
    named, bare = (mlcycle("infer", *words, album, "--model", tiny) for words in (["dir"], []))
    assert (bare.code, bare.out) == (named.code, named.out)
    assert mlcycle("infer", "--out", tmp_path / "run", album, "--model", tiny, "--resume").code == 3
    assert (tmp_path / "run" / "records.jsonl").exists()


def test_json_is_one_document_with_the_whole_record(mlcycle: Run, album: Path, tiny: Path) -> None:
    document = json.loads(mlcycle("infer", album / "one.jpg", "--model", tiny, "--format", "json").out)
    assert document["schema_version"] == 1
    (record,) = document["records"]
    assert record["image"] == {"width": 512, "height": 400}
    assert record["model"]["name"] == "tiny"
    assert record["model"]["sha256"] == Path(f"{tiny}.sha256").read_text().split()[0]
    assert record["provider"] == "cpu"
    assert record["threshold"] == 0.5
    assert set(record["milliseconds"]) == {"read", "decode", "resize", "run", "select"}
    (face,) = record["faces"]
    assert face["box"] == pytest.approx([300, 40, 380, 150], abs=1.01)
    assert next(iter(face["landmarks"])) == "left_eye"


def test_at_selects_an_operating_point(mlcycle: Run, pixels: np.ndarray, tmp_path: Path) -> None:
    half_HW3 = pixels.copy()
    half_HW3[95:150, 340:380] = pixels[0, 0]  # a quarter of the patch: the rest scores .75
    Image.fromarray(half_HW3).save(tmp_path / "half.png")
    thresholds = {"sensitive": 0.3, "balanced": 0.8, "precise": 0.9}
    model = tmp_path / "three.onnx"
    write_sealed(tiny_bytes(replace(CONTRACT, thresholds=thresholds)), model)
    for point, status in (("sensitive", "ok"), ("balanced", "empty"), ("precise", "empty")):
        words = "infer", tmp_path / "half.png", "--model", model, "--format", "jsonl"
        assert json.loads(mlcycle(*words, "--at", point).out)["status"] == status
    run = "infer", "dir", tmp_path, "--model", model, "--out", tmp_path / "run"
    assert mlcycle(*run, "--at", "sensitive").code == 0
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["settings"]["threshold"] == 0.3
    other = mlcycle(*run, "--at", "precise", "--resume")
    assert other.code == 2
    assert "was started with threshold 0.3, not 0.9" in other.err


def test_an_unknown_operating_point_is_a_usage_error(mlcycle: Run, album: Path, tiny: Path) -> None:
    outcome = mlcycle("infer", album / "one.jpg", "--model", tiny, "--at", "precise")
    assert (outcome.code, outcome.out) == (2, "")
    assert "has no operating point precise; it has balanced (0.5)" in outcome.err
    both = mlcycle("infer", album / "one.jpg", "--model", tiny, "--at", "balanced", "--threshold", "0.3")
    assert both.code == 2
    assert "--at and --threshold" in both.err


def test_results_never_replace_a_file_without_overwrite(mlcycle: Run, album: Path, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "results" / "faces.jsonl"
    arguments = ("infer", album / "one.jpg", "--model", tiny, "--out", out)
    assert mlcycle(*arguments)[:2] == (0, "")
    first = out.read_text()
    assert json.loads(first)["status"] == "ok"
    refused = mlcycle(*arguments)
    assert (refused.code, out.read_text()) == (3, first)
    assert "--overwrite" in refused.err
    assert "0 images" not in refused.err
    assert mlcycle(*arguments, "--overwrite").code == 0
    assert [path.name for path in out.parent.iterdir()] == ["faces.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("https://example.org/photo.jpg",), 2, "is a URL"),
        (("photo.jpg", "--threshold", "2"), 2, "threshold"),
        (("photo.jpg", "--provider", "abacus"), 2, "abacus"),
        (("photo.jpg", "--format", "xml"), 2, "xml"),
        (("dir", "nowhere"), 3, "no such folder"),
        (("photo.jpg", "--model", "nothing.onnx"), 4, "no such model file"),
    ],
)
def test_each_error_has_its_exit_code(
    arguments: tuple[str, ...], code: int, words: str, mlcycle: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = mlcycle("infer", *arguments)
    assert (outcome.code, outcome.out) == (code, "")
    assert words in outcome.err
    assert "Traceback" not in outcome.err


def test_an_empty_folder_is_an_error(mlcycle: Run, tiny: Path, tmp_path: Path) -> None:
    outcome = mlcycle("infer", "dir", tmp_path, "--model", tiny)
    assert outcome.code == 3
    assert "contains no images" in outcome.err


def test_an_unavailable_provider_exits_6(mlcycle: Run, album: Path, tiny: Path) -> None:
    outcome = mlcycle("infer", album / "one.jpg", "--model", tiny, "--provider", "coreml")
    if sys.platform == "linux":
        assert (outcome.code, outcome.out) == (6, "")
        assert "coreml" in outcome.err


def test_names_that_are_not_utf8_are_preserved(mlcycle: Run, album: Path, tiny: Path) -> None:
    odd = os.fsdecode(bytes(album) + b"/f\xff\x1b[31m\n[b].jpg")
    try:
        (album / "one.jpg").rename(odd)
    except OSError:
        pytest.skip("this file system refuses such names")
    table = mlcycle("infer", "dir", album, "--model", tiny)
    assert r"f\xff\x1b[31m\n[b].jpg " in table.out
    lines = mlcycle("infer", "dir", album, "--model", tiny, "--format", "jsonl").out.splitlines()
    assert Path(odd).name in [json.loads(line)["input"] for line in lines]
    assert mlcycle("infer", odd, "--model", tiny, "--annotate", album / "found").code == 0


def test_annotated_copies_keep_the_tree_and_replace_nothing(
    mlcycle: Run, album: Path, tiny: Path, tmp_path: Path
) -> None:
    found = tmp_path / "found"
    arguments = ("infer", "dir", album, "--model", tiny, "--annotate", found)
    assert mlcycle(*arguments).code == 3
    names = sorted(path.relative_to(found).as_posix() for path in found.rglob("*.*"))
    assert names == ["inside/two.png", "none.jpg", "one.jpg"]
    before = (found / "one.jpg").read_bytes()
    refused = mlcycle(*arguments)
    assert "exist already" in refused.err
    assert (refused.code, refused.out) == (3, "")
    assert (found / "one.jpg").read_bytes() == before
    assert mlcycle(*arguments, "--overwrite", "--threshold", "1").code == 3


def test_results_never_replace_an_input(mlcycle: Run, album: Path, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "list").write_text(f"{album / 'one.jpg'}\n")
    (tmp_path / "link").symlink_to(album / "one.jpg")
    for given, out in (
        (album / "one.jpg", album / "one.jpg"),
        (album / "one.jpg", tmp_path / "link"),
        (album / "one.jpg", tiny),
        (f"@{tmp_path / 'list'}", tmp_path / "list"),
    ):
        before = out.read_bytes()
        outcome = mlcycle("infer", given, "--model", tiny, "--out", out, "--overwrite")
        assert (outcome.code, out.read_bytes()) == (3, before)
        assert f"{out} is one of the inputs" in outcome.err
    outcome = mlcycle("infer", "dir", album, "--model", tiny, "--format", "table", "--out", album / "one.jpg",
                      "--overwrite")  # fmt: skip
    assert "is one of the inputs" in outcome.err


def test_the_images_are_never_replaced(mlcycle: Run, album: Path, tiny: Path) -> None:
    before = (album / "one.jpg").read_bytes()
    outcome = mlcycle("infer", "dir", album, "--model", tiny, "--annotate", album, "--overwrite")
    assert outcome.code == 3
    assert (album / "one.jpg").read_bytes() == before
    outcome = mlcycle("infer", album / "one.jpg", "--model", tiny, "--annotate", album, "--overwrite")
    assert "replace the image itself" in outcome.err
    assert (album / "one.jpg").read_bytes() == before


def test_copies_inside_the_folder_are_skipped(mlcycle: Run, album: Path, tiny: Path) -> None:
    arguments = (
        "infer",
        "dir",
        album,
        "--model",
        tiny,
        "--annotate",
        album / "found",
        "--overwrite",
        "--format",
        "csv",
    )
    first, second = mlcycle(*arguments), mlcycle(*arguments)
    assert (album / "found" / "inside" / "two.png").is_file()
    assert first.out == second.out
    assert {line.partition(",")[0] for line in first.out.splitlines()[1:]} == {
        "broken.jpg", "inside/two.png", "none.jpg", "one.jpg"
    }  # fmt: skip


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_complete_records(
    number: int, code: int, tmp_path: Path, pixels: np.ndarray, tiny: Path
) -> None:
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    for copy in range(3000):
        (tmp_path / f"{copy}.png").hardlink_to(tmp_path / "photo.png")
    command = [sys.executable, "-m", "mlcycle", "infer", "dir", tmp_path, "--model", tiny, "--format", "jsonl"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        first = run.stdout.readline()
        run.send_signal(number)
        # Not communicate(), which would lose what the stream has buffered after the first line.
        rest, messages = run.stdout.read(), run.stderr.read()
        run.wait(timeout=60)
    records = [json.loads(line) for line in (first + rest).splitlines()]
    assert run.returncode == code
    assert 1 <= len(records) < 3000
    lines = [line for line in messages.splitlines() if " failed" in line]
    counted = int(lines[0].split()[0].replace(",", "")) if lines else 0
    assert counted in (len(records), len(records) - 1)  # the signal may arrive between writing and counting


def test_torch_is_not_imported_and_nothing_else_is_printed(album: Path, tiny: Path) -> None:
    program = (
        "import sys\n"
        "from mlcycle.cli import run\n"
        f"code = run(['-q', 'infer', 'dir', {str(album)!r}, '--model', {str(tiny)!r}, '--format', 'json'])\n"
        "heavy = {'torch', 'torchvision', 'onnx', 'skimage', 'scipy', 'matplotlib', 'rich'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment()
    )
    assert (done.returncode, done.stderr) == (3, "")
    assert len(json.loads(done.stdout)["records"]) == 4


def test_folders_in_place_of_images_get_a_hint(mlcycle: Run, album: Path, tiny: Path) -> None:
    outcome = mlcycle("infer", album, album, "--model", tiny)
    assert outcome.code == 2
    assert f"mlcycle infer dir {album}" in outcome.err


def test_a_folder_among_images_does_not_stop_them(mlcycle: Run, album: Path, tiny: Path) -> None:
    outcome = mlcycle("infer", album / "inside", album / "one.jpg", "--model", tiny, "--format", "jsonl")
    records = [json.loads(line) for line in outcome.out.splitlines()]
    assert outcome.code == 3
    assert [record["status"] for record in records] == ["error", "ok"]


def test_a_file_in_place_of_the_folder_for_copies_is_refused(mlcycle: Run, album: Path, tiny: Path) -> None:
    image = album / "one.jpg"
    outcome = mlcycle("infer", image, "--model", tiny, "--annotate", image)
    assert outcome.code == 3
    assert "is not a folder" in outcome.err


def test_an_image_that_exceeds_the_memory_does_not_stop_the_others(
    detector: object, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlcycle.inference import letterbox
    from mlcycle.inference.detect import DetectOptions
    from mlcycle.inference.sources import Source

    original, calls = letterbox.shrink, []

    def once_too_large(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == 1:
            raise MemoryError
        return original(*arguments)

    monkeypatch.setattr(letterbox, "shrink", once_too_large)
    image = album / "one.jpg"
    records = list(detector.detect_all([Source(image, "one"), Source(image, "two")], DetectOptions()))
    assert [record.status for record in records] != ["error", "error"]
    assert records[0].error == ("too-large", "not enough memory")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_reported_in_one_sentence(album: Path, tiny: Path) -> None:
    image = album / "one.jpg"
    words = [sys.executable, "-m", "mlcycle", "infer", str(image), "--model", str(tiny), "--format", "json"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=environment())
    assert done.returncode == 3
    assert "the disk that results are written to is full" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("full", ["blurred/one.jpg", "faces.jsonl"])
def test_a_full_disk_is_reported_with_the_file_that_failed(
    full: str, mlcycle: Run, album: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_file = os.open

    def open_on_a_full_disk(path: str, flags: int, mode: int = 0o777, **more: int | None) -> int:
        is_full = Path(path).name.startswith(f".{Path(full).name}.") or Path(path).name == f"{full}.part"
        return open_file("/dev/full", os.O_WRONLY) if is_full else open_file(path, flags, mode, **more)

    monkeypatch.setattr(os, "open", open_on_a_full_disk)
    out = ("--format", "jsonl", "--out", tmp_path / "faces.jsonl", "--redact", "blur", tmp_path / "blurred")
    outcome = mlcycle("infer", album / "none.jpg", album / "one.jpg", "--model", tiny, *out)
    assert outcome.code == 3
    assert f"error: {tmp_path / full} cannot be written: No space left on device" in outcome.err


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX shells")
def test_closed_streams_do_not_lose_the_results(album: Path, tiny: Path) -> None:
    image = album / "one.jpg"
    line = f"{sys.executable} -m mlcycle infer {image} --model {tiny} --format jsonl"
    stderr_closed = subprocess.run(
        f"{line} 2>&-", shell=True, capture_output=True, text=True, env=environment(), check=False
    )
    assert stderr_closed.returncode == 0
    assert json.loads(stderr_closed.stdout)["input"] == image.as_posix()
    stdout_closed = subprocess.run(
        f"{line} >&-", shell=True, capture_output=True, text=True, env=environment(), check=False
    )
    assert "Traceback" not in stdout_closed.stderr


def piped(given: bytes, *words: str | Path) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "mlcycle", "infer", *map(str, words)]
    return subprocess.run(command, input=given, capture_output=True, check=False, env=environment())


def test_an_image_is_read_from_standard_input(album: Path, tiny: Path, tmp_path: Path) -> None:
    words = ("-", "--model", tiny, "--format", "json", "--annotate", tmp_path / "found")
    done = piped((album / "one.jpg").read_bytes(), *words)
    (record,) = json.loads(done.stdout)["records"]
    assert (done.returncode, record["input"], record["status"], len(record["faces"])) == (0, "-", "ok", 1)
    assert [path.name for path in (tmp_path / "found").iterdir()] == ["stdin.png"]
    done = piped(b"", "-", "--model", tiny, "--format", "json")
    assert (done.returncode, json.loads(done.stdout)["records"][0]["error"]["code"]) == (3, "empty")


def test_names_are_read_from_standard_input(album: Path, tiny: Path) -> None:
    names = b"\0".join(bytes(album / name) for name in ("none.jpg", "a\nb.jpg", "one.jpg")) + b"\0"
    done = piped(names, "--stdin0", "--model", tiny, "--format", "jsonl")
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(Path(each["input"]).name, each["status"]) for each in records] == [
        ("none.jpg", "empty"),
        ("a\nb.jpg", "error"),
        ("one.jpg", "ok"),
    ]
    assert done.returncode == 3


@pytest.mark.parametrize(
    ("given", "words", "code", "error"),
    [
        (b"", (), 2, b"no image given"),
        (b"", ("--stdin0",), 3, b"no image names on standard input"),
        (b"a.jpg", ("-", "--stdin0"), 2, b"both names and an image"),
    ],
)
def test_missing_images_are_an_error_before_a_model_is_loaded(
    given: bytes, words: tuple[str], code: int, error: bytes
) -> None:
    done = piped(given, *words)
    assert done.returncode == code
    assert error in done.stderr
    assert b"model" not in done.stderr
