"""Damaged and inconsistent files: one record each, no crash, no hang, no foreign output, and bounded memory."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import environment
from inconsistent_files import READ, inconsistent_files
from odd_files import encoded_images, mutants
from PIL import Image

from mlcycle.errors import UnreadableError
from mlcycle.inference.decoding import images

pytest_plugins = ("tiny_album",)

DOCUMENT = Path(__file__).parents[3] / "docs" / "odd-images.md"
WORKERS = 2
# Python, Pillow and onnxruntime with the model take a hundred. An image takes up to 25 bytes per pixel, two are decoded
# at once, and headers of these files that declare more than a few megapixels are refused.
MAX_MEGABYTES = 400
# Runs `mlcycle` and prints its peak memory at the end. The limit makes the test fail instead of the machine.
PROGRAM = """
import resource, sys
from mlcycle.benching.memory import own_peak
from mlcycle.cli import run
if sys.platform == "linux":
    resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, 8 * 2**30))
code = run(sys.argv[1:])
print(own_peak())
sys.exit(code)
"""


class Outcome(NamedTuple):
    records: list[dict[str, Any]]
    code: int
    messages: list[str]
    megabytes: float


@pytest.fixture(scope="session")
def scene(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize((96, 72)))


def infer(folder: Path, tiny: Path, out: Path, seconds: int) -> Outcome:
    words = ["infer", "dir", folder, "--model", tiny, "--threads", str(WORKERS), "--format", "jsonl", "--out", out]
    command = [sys.executable, "-c", PROGRAM, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds, env=environment())
    assert done.stdout.strip().isdecimal(), done.stderr
    records = [json.loads(line) for line in out.read_text("ascii").splitlines()]
    return Outcome(records, done.returncode, done.stderr.splitlines(), int(done.stdout) / 2**20)


def fill(folder: Path, files: dict[str, bytes]) -> dict[str, bytes]:
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return files


def check(outcome: Outcome, files: dict[str, bytes]) -> None:
    assert list(dict.fromkeys(each["input"] for each in outcome.records)) == sorted(files)
    pages = {(each["input"], each["part"] and each["part"]["number"]) for each in outcome.records}
    assert len(pages) == len(outcome.records)
    assert outcome.code == 3
    codes = {each["error"]["code"] for each in outcome.records if each["error"]}
    assert codes <= documented_codes()
    failed = [f"failed: {each['input']}: " for each in outcome.records if each["error"]]
    named = [line for line in outcome.messages if line.startswith("failed: ")]
    assert len(named) == min(3, len(failed))
    assert all(line.startswith(tuple(failed)) for line in named)
    others = [line for line in outcome.messages[1:] if line not in named]
    assert [re.sub(r"\d[\d,.]*", "#", line) for line in others] == [
        "# images, # faces, # failed, # images per second",
        *(["# more failed; the results name them"] if len(failed) > len(named) else []),
    ]
    assert outcome.messages[0].startswith("model tiny ")
    assert outcome.megabytes < MAX_MEGABYTES


def documented_codes() -> set[str]:
    words = (UnreadableError.__doc__ or "").split("one of ")[1].split(".")[0]
    codes = set(re.findall(r"[a-z-]+", words))
    assert codes <= set(re.findall(r"`([a-z-]+)`", DOCUMENT.read_text("utf-8")))
    return codes


def test_damaged_files_give_one_record_each(scene: np.ndarray, tiny: Path, tmp_path: Path) -> None:
    files = fill(tmp_path / "corpus", dict(mutants(encoded_images(scene), 60, "quick")))
    outcome = infer(tmp_path / "corpus", tiny, tmp_path / "records.jsonl", seconds=60)
    check(outcome, files)


def test_inconsistent_files_are_read_or_refused_with_a_known_code(
    scene: np.ndarray, tiny: Path, tmp_path: Path
) -> None:
    expected = list(inconsistent_files(scene))
    files = fill(tmp_path / "corpus", {name: data for name, data, _ in expected})
    outcome = infer(tmp_path / "corpus", tiny, tmp_path / "records.jsonl", seconds=60)
    check(outcome, files)
    results = {each["input"]: each["error"]["code"] if each["error"] else READ for each in outcome.records}
    assert results == {name: result for name, _, result in expected}
    notes = {each["input"]: each["note"] for each in outcome.records if each["note"]}
    assert notes == {"frames.gif": "first of 20000 frames"}


def test_every_kind_of_undamaged_file_is_read(scene: np.ndarray) -> None:
    for name, data in encoded_images(scene).items():
        seen_HW3 = np.asarray(images.decode(data).upright())
        assert 32 in seen_HW3.shape or sorted(seen_HW3.shape) == [3, 72, 96], name


def test_the_same_seed_gives_the_same_files(scene: np.ndarray) -> None:
    files = encoded_images(scene)
    assert list(mutants(files, 50, "a")) == list(mutants(files, 50, "a"))
    assert list(mutants(files, 50, "a")) != list(mutants(files, 50, "b"))
    assert sum(data not in files.values() for _, data in mutants(files, 500, "a")) > 480


@pytest.mark.slow
def test_three_thousand_damaged_files_give_one_record_each_twice_the_same(
    scene: np.ndarray, tiny: Path, tmp_path: Path
) -> None:
    damaged = dict(mutants(encoded_images(scene), 3000, "slow"))
    files = fill(tmp_path / "corpus", damaged | {name: data for name, data, _ in inconsistent_files(scene)})
    first, second = (infer(tmp_path / "corpus", tiny, tmp_path / f"{number}.jsonl", seconds=120) for number in range(2))
    check(first, files)
    without_times = [[each | {"milliseconds": None} for each in outcome.records] for outcome in (first, second)]
    assert without_times[0] == without_times[1]
    codes = {each["error"]["code"] for each in first.records if each["error"]}
    assert codes == {"empty", "not-an-image", "unsupported", "truncated", "damaged", "too-large"}
