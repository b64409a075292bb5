"""Checks the wheel and the sdist that `make dist` has built: their files, sizes, reproducibility, and a plain install.

Usage:  python .ci/check_dist.py dist
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
# In bytes, of each file. The weights of the two bundled models are nearly all of it; what grows shall be noticed.
LARGEST = 6_500_000
# Draws the model's test image, in which there are faces, with nothing but what a plain install has.
DRAW = """
import sys
from PIL import Image
from mlcycle.artifact import self_test
Image.fromarray(self_test.image(192, 192, 0)).save(sys.argv[1])
"""


def main(folder: Path) -> None:
    """Checks the one wheel and the one sdist in a folder; exits with a message if something is wrong."""
    [wheel], [sdist] = folder.glob("*.whl"), folder.glob("*.tar.gz")
    tracked = set(run("git", "ls-files", cwd=CHECKOUT).splitlines())
    problems = [*differing_files(wheel, sdist, tracked), *too_large(wheel, sdist)]
    with tempfile.TemporaryDirectory() as temporary:
        # One after the other: the second build is from the sdist, in another folder and at another time.
        problems += not_reproduced(wheel, sdist, Path(temporary) / "again")
        problems += not_installable(wheel, Path(temporary) / "venv")
    if problems:
        sys.exit("\n".join(f"error: {problem}" for problem in problems))
    sizes = ", ".join(f"{each.name} {each.stat().st_size / 1e6:.2f} MB" for each in (wheel, sdist))
    print(f"{sizes}: complete, reproducible, and infers without torch")


def differing_files(wheel: Path, sdist: Path, tracked: set[str]) -> list[str]:
    """Returns what is missing and what is too much: the sdist is the repository, the wheel the package and recipes."""
    with tarfile.open(sdist) as tar:
        in_sdist = {each.name.partition("/")[2] for each in tar.getmembers()} - {"PKG-INFO"}
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = {name for name in archive.namelist() if not name.partition("/")[0].endswith(".dist-info")}
    packaged = {name for name in tracked if name.startswith("mlcycle/")}
    packaged |= {f"mlcycle/{name}" for name in tracked if name.startswith("recipes/")}
    return [
        f"{archive.name} {what} {name}"
        for archive, found, expected in ((sdist, in_sdist, tracked), (wheel, in_wheel, packaged))
        for what, names in (("lacks", expected - found), ("has, and git has not,", found - expected))
        for name in sorted(names)
    ]


def too_large(*archives: Path) -> list[str]:
    """Returns the archives that are larger than LARGEST."""
    sizes = ((each, each.stat().st_size) for each in archives)
    return [f"{each.name} has {size:,} bytes; the limit is {LARGEST:,}" for each, size in sizes if size > LARGEST]


def not_reproduced(wheel: Path, sdist: Path, folder: Path) -> list[str]:
    """Builds both again from the sdist, and returns those whose bytes differ."""
    with tarfile.open(sdist) as tar:
        tar.extractall(folder, filter="data")
    [source] = folder.iterdir()
    run(sys.executable, "-m", "build", "--outdir", folder / "dist", source)
    pairs = ((each, folder / "dist" / each.name) for each in (wheel, sdist))
    return [f"{each.name} is not reproducible" for each, again in pairs if each.read_bytes() != again.read_bytes()]


def not_installable(wheel: Path, folder: Path) -> list[str]:
    """Installs the wheel alone into a new environment and finds faces there; returns what went wrong."""
    venv.create(folder, with_pip=True)
    python, command, image = folder / "bin/python", folder / "bin/mlcycle", folder / "faces.png"
    run(python, "-m", "pip", "install", "--quiet", wheel)
    packages = {each["name"] for each in json.loads(run(python, "-m", "pip", "list", "--format=json"))}
    run(python, "-c", DRAW, image, cwd=folder)
    [record] = json.loads(run(command, "infer", image, "--format", "json", cwd=folder))["records"]
    problems = ["torch comes with a plain install"] if "torch" in packages else []
    return problems if record["faces"] else [*problems, "the installed wheel finds no face in its test image"]


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Runs a program and returns its output; exits with its messages if it fails. The checkout cannot be imported."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(each) for each in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"error: {' '.join(map(str, command))} exits {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main(Path(sys.argv[1]))
