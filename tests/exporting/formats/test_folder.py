"""A folder is written completely, with valid checksums, or not at all."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from mlcycle.errors import InputError
from mlcycle.exporting.formats.folder import published


def fill(folder: Path) -> None:
    (folder / "name" / "1").mkdir(parents=True)
    (folder / "name" / "1" / "model.onnx").write_bytes(b"weights")
    (folder / "contract.json").write_text("{}")


def test_the_folder_is_complete_and_its_checksums_are_valid(tmp_path: Path) -> None:
    target = tmp_path / "new" / "served"
    with published(target) as folder:
        fill(folder)
        assert not target.exists()
    assert [each.name for each in target.parent.iterdir()] == ["served"]
    assert [line.split("  ")[1] for line in (target / "SHA256SUMS").read_text().splitlines()] == [
        "contract.json",
        "name/1/model.onnx",
    ]
    assert {path.stat().st_mode & 0o777 for path in target.rglob("*") if path.is_file()} == {0o444}
    assert {path.stat().st_mode & 0o777 for path in (target, target / "name", target / "name" / "1")} == {0o755}
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=target, check=True, capture_output=True)


@pytest.mark.parametrize("problem", [ValueError("no"), KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_failure_leaves_nothing(tmp_path: Path, problem: BaseException) -> None:
    expected = InputError if isinstance(problem, OSError) else type(problem)
    with pytest.raises(expected), published(tmp_path / "new" / "served") as folder:  # noqa: PT012
        fill(folder)
        raise problem
    assert list(tmp_path.iterdir()) == []


def test_an_existing_target_is_unchanged(tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    with pytest.raises(InputError, match="already exists"), published(tmp_path / "served"):
        raise AssertionError("the block must not run")
    with pytest.raises(InputError, match="already exists"), published(tmp_path / "late") as folder:  # noqa: PT012
        fill(folder)
        (tmp_path / "late").write_text("somebody else's")
    assert (tmp_path / "late").read_text() == "somebody else's"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["late", "served"]


def test_an_unwritable_target(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match="cannot be written"), published(tmp_path / "file" / "served"):
        raise AssertionError("the block must not run")
