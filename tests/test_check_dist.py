"""`make dist` refuses a wheel or sdist that lacks a file, has one too many, or has grown."""

from __future__ import annotations

import importlib.util
import io
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parent.parent / ".ci" / "check_dist.py"
TRACKED = {"mlcycle/py.typed", "recipes/demo.yaml", "tests/test_x.py", "README.md"}
PACKAGED = {"mlcycle/py.typed", "mlcycle/recipes/demo.yaml"}

pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="not a checkout")


@pytest.fixture(scope="module")
def check_dist() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_dist", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def built(folder: Path, packaged: set[str] = PACKAGED, sources: set[str] = TRACKED) -> tuple[Path, Path]:
    """Writes a wheel and an sdist of empty files."""
    wheel, sdist = folder / "x-1-py3-none-any.whl", folder / "x-1.tar.gz"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in {*packaged, "x-1.dist-info/METADATA"}:
            archive.writestr(name, "")
    with tarfile.open(sdist, "w:gz") as tar:
        for name in {*sources, "PKG-INFO"}:
            tar.addfile(tarfile.TarInfo(f"x-1/{name}"), io.BytesIO())
    return wheel, sdist


@pytest.mark.parametrize(
    ("packaged", "sources", "expected"),
    [
        (PACKAGED, TRACKED, []),
        (PACKAGED - {"mlcycle/py.typed"}, TRACKED, ["x-1-py3-none-any.whl lacks mlcycle/py.typed"]),
        (PACKAGED | {"tests/x.py"}, TRACKED, ["x-1-py3-none-any.whl has, and git has not, tests/x.py"]),
        (PACKAGED, TRACKED - {"README.md"}, ["x-1.tar.gz lacks README.md"]),
        (PACKAGED, TRACKED | {"runs/a"}, ["x-1.tar.gz has, and git has not, runs/a"]),
    ],
)
def test_missing_and_superfluous_files_are_named(
    check_dist: ModuleType, tmp_path: Path, packaged: set[str], sources: set[str], expected: list[str]
) -> None:
    assert check_dist.differing_files(*built(tmp_path, packaged, sources), TRACKED) == expected


def test_growth_is_noticed(check_dist: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel, sdist = built(tmp_path)
    assert check_dist.too_large(wheel, sdist) == []
    monkeypatch.setattr(check_dist, "LARGEST", wheel.stat().st_size - 1)
    assert any("the limit is" in each for each in check_dist.too_large(wheel, sdist))


def test_a_failing_program_ends_the_check_with_its_messages(check_dist: ModuleType) -> None:
    with pytest.raises(SystemExit, match="no-such-file"):
        check_dist.run("ls", "no-such-file")
