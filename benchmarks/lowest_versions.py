"""The lowest versions that pyproject.toml allows: whether they install without a compiler, and pass the tests.

    python benchmarks/lowest_versions.py [PYTHON ...] [--tests PATH ...]

Needs uv (pip install uv) and a package index. For each PYTHON (default: this one) and each extra, the lowest versions
are compared with the lowest that have a wheel: a difference is a bound that does not hold. Then `.[test]` is installed
at its lowest versions into an environment of its own, and tests of inference run there, without torch. Exits 1 if a
bound does not hold or a test fails.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
# dev holds mlcycle itself, and tools that nobody needs at an old version.
NOT_TRIED = {"dev"}
TESTS = [
    "tests/artifact",
    "tests/datasets/formats",
    "tests/evaluation",
    "tests/exporting/precision",
    "tests/inference/copies",
    "tests/inference/decoding",
    "tests/inference/outputs",
    "tests/inference/test_detect.py",
]
LOWEST = ("--resolution", "lowest-direct")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pythons", metavar="PYTHON", nargs="*", default=[sys.executable])
    parser.add_argument("--tests", metavar="PATH", nargs="*", default=TESTS, help="Run these tests, or none.")
    arguments = parser.parse_args()
    good = [_try(python, arguments.tests) for python in arguments.pythons]
    return 0 if all(good) else 1


def _try(python: str, tests: list[str]) -> bool:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    version = subprocess.check_output([python, "-c", code], text=True).strip()
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["project"]
    good = True
    for extra in ["", *sorted(set(project["optional-dependencies"]) - NOT_TRIED)]:
        problem = _bounds_problem(version, extra)
        print(f"Python {version}  {extra or 'plain':<12}  {problem or 'holds'}", flush=True)
        good &= not problem
    return _run(python, tests) and good


def _bounds_problem(version: str, extra: str) -> str:
    """Returns which lowest versions have no wheel for a Python, and the lowest that have; "" if all have one."""
    words = ["--python-version", version, *(["--extra", extra] if extra else []), "pyproject.toml"]
    any_, wheels = (_resolved([*words, *more]) for more in ([], ["--only-binary", ":all:"]))
    if isinstance(any_, str) or isinstance(wheels, str):
        return f"does not resolve: {any_ if isinstance(any_, str) else wheels}"
    higher = {name: at for name, at in wheels.items() if any_.get(name, at) != at}
    return ", ".join(f"{name} {any_[name]} has no wheel, {at} has" for name, at in higher.items())


def _resolved(words: list[str]) -> dict[str, str] | str:
    """Returns package → version, or what is wrong."""
    done = _uv("pip", "compile", "--quiet", "--no-header", "--no-annotate", *LOWEST, *words)
    if done.returncode:
        return " ".join(done.stderr.split())[:300]
    pins = (line.partition(" ")[0].partition("==") for line in done.stdout.splitlines())
    return {name: version for name, _, version in pins}


def _run(python: str, tests: list[str]) -> bool:
    """Installs the lowest versions, and runs the tests on them, from a copy without the checkout's package."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([python, "-m", "venv", folder / "venv"], check=True)
        installed = _uv("pip", "install", "--quiet", "--python", folder / "venv", *LOWEST, ".[test]")
        if installed.returncode:
            print(installed.stderr, file=sys.stderr)
            return False
        for each in ("tests", "docs"):
            shutil.copytree(CHECKOUT / each, folder / each)
        shutil.copy(CHECKOUT / "pyproject.toml", folder)
        command = [folder / "venv/bin/python", "-m", "pytest", "-q", "-m", "not slow and not training", *tests]
        return not tests or subprocess.run(command, cwd=folder, check=False).returncode == 0


def _uv(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["uv", *words], cwd=CHECKOUT, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    sys.exit(main())
