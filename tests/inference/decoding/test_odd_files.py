"""Broken, odd and lying files: one record each, no crash, no hang, no word beside mlcycle's own, and bounded memory."""

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
from lying_files import READ, lies
from odd_files import encoded_images, mutants
from PIL import Image

from mlcycle.errors import UnreadableError
from mlcycle.inference.decoding import images

pytest_plugins = ("tiny_album",)

DOCUMENT = Path(__file__).parents[3] / "docs" / "odd-images.md"
WORKERS = 2
# A hundred are Python, Pillow and onnxruntime with the model. An image takes up to 25 bytes a pixel, two are decoded
# at once, and no header of these files is believed that promises more than a few megapixels.
MOST_MEGABYTES = 400
# As `mlcycle` is run, with the memory that it had at most said in the end; where that fails a test, not the machine.
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


class Look(NamedTuple):
    records: list[dict[str, Any]]
    code: int
    said: list[str]
    megabytes: float


@pytest.fixture(scope="session")
def scene(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize((96, 72)))


def look(folder: Path, tiny: Path, out: Path, seconds: int) -> Look:
    words = ["infer", "dir", folder, "--model", tiny, "--threads", str(WORKERS), "--format", "jsonl", "--out", out]
    command = [sys.executable, "-c", PROGRAM, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds, env=environment())
    assert done.stdout.strip().isdecimal(), done.stderr
    records = [json.loads(line) for line in out.read_text("ascii").splitlines()]
    return Look(records, done.returncode, done.stderr.splitlines(), int(done.stdout) / 2**20)


def fill(folder: Path, files: dict[str, bytes]) -> dict[str, bytes]:
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return files


def check(seen: Look, files: dict[str, bytes]) -> None:
    assert list(dict.fromkeys(each["input"] for each in seen.records)) == sorted(files)
    pages = {(each["input"], each["part"] and each["part"]["number"]) for each in seen.records}
    assert len(pages) == len(seen.records)
    assert seen.code == 3
    codes = {each["error"]["code"] for each in seen.records if each["error"]}
    assert codes <= documented_codes()
    assert [re.sub(r"\d[\d,.]*", "#", line) for line in seen.said[1:]] == [
        "# images, # faces, # failed, # images a second"
    ]
    assert seen.said[0].startswith("model tiny ")
    assert seen.megabytes < MOST_MEGABYTES


def documented_codes() -> set[str]:
    words = (UnreadableError.__doc__ or "").split("one of ")[1].split(";")[0]
    codes = set(re.findall(r"[a-z-]+", words))
    assert codes <= set(re.findall(r"`([a-z-]+)`", DOCUMENT.read_text("utf-8")))
    return codes


def test_broken_files_give_one_record_each(scene: np.ndarray, tiny: Path, tmp_path: Path) -> None:
    files = fill(tmp_path / "corpus", dict(mutants(encoded_images(scene), 60, "quick")))
    seen = look(tmp_path / "corpus", tiny, tmp_path / "records.jsonl", seconds=60)
    check(seen, files)


def test_files_that_lie_are_read_or_refused_with_a_known_code(scene: np.ndarray, tiny: Path, tmp_path: Path) -> None:
    known = list(lies(scene))
    files = fill(tmp_path / "corpus", {name: data for name, data, _ in known})
    seen = look(tmp_path / "corpus", tiny, tmp_path / "records.jsonl", seconds=60)
    check(seen, files)
    became = {each["input"]: each["error"]["code"] if each["error"] else READ for each in seen.records}
    assert became == {name: outcome for name, _, outcome in known}
    notes = {each["input"]: each["note"] for each in seen.records if each["note"]}
    assert notes == {"frames.gif": "first of 20000 frames"}


def test_every_kind_is_read_where_nothing_is_broken(scene: np.ndarray) -> None:
    for name, data in encoded_images(scene).items():
        seen_HW3 = np.asarray(images.decode(data).upright())
        assert 32 in seen_HW3.shape or sorted(seen_HW3.shape) == [3, 72, 96], name


def test_the_same_seed_gives_the_same_files(scene: np.ndarray) -> None:
    files = encoded_images(scene)
    assert list(mutants(files, 50, "a")) == list(mutants(files, 50, "a"))
    assert list(mutants(files, 50, "a")) != list(mutants(files, 50, "b"))
    assert sum(data not in files.values() for _, data in mutants(files, 500, "a")) > 480


@pytest.mark.slow
def test_three_thousand_broken_files_give_one_record_each_and_the_same_ones_again(
    scene: np.ndarray, tiny: Path, tmp_path: Path
) -> None:
    broken = dict(mutants(encoded_images(scene), 3000, "slow"))
    files = fill(tmp_path / "corpus", broken | {name: data for name, data, _ in lies(scene)})
    first, second = (look(tmp_path / "corpus", tiny, tmp_path / f"{number}.jsonl", seconds=120) for number in range(2))
    check(first, files)
    without_times = [[each | {"milliseconds": None} for each in seen.records] for seen in (first, second)]
    assert without_times[0] == without_times[1]
    codes = {each["error"]["code"] for each in first.records if each["error"]}
    assert codes == {"empty", "not-an-image", "unsupported", "truncated", "damaged", "too-large"}
