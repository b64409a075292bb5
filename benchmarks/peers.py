"""Model files of mlcycle beside other face detectors: accuracy and time over the same images, in one run.

    python benchmarks/peers.py MODEL [MODEL ...] --data DIR [--split val] [--long-side 640|original]

Needs mlcycle (with its extra `evaluate` for the official WIDER FACE levels), and of the peers in requirements.txt those
that are to be compared; a peer that is not installed is named, and the others run. README.md beside this file says how
to install them, and what the figures are.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import comparison
import comparison_report
from detectors import PEERS, Detector, Peer, open_model

from mlcycle.cli import console
from mlcycle.datasets import reading
from mlcycle.errors import InputError, MlcycleError
from mlcycle.extras import extra
from mlcycle.inference.outputs import output
from mlcycle.workflows import evaluate


def main(words: list[str] | None = None) -> int:
    chosen = _arguments(words)
    try:
        return compare(chosen)
    except MlcycleError as problem:
        console.fail(problem.message, problem.hint)
        return problem.exit_code
    except KeyboardInterrupt:
        console.fail("stopped; nothing was written")
        return 130


def compare(chosen: argparse.Namespace) -> int:
    """Opens the detectors, shows them the images, and writes the figures down; returns the exit code."""
    _check_free(chosen.out, chosen.overwrite)
    split = chosen.split or ("val" if "val" in reading.splits(chosen.data) else "")
    images = evaluate.spread(reading.read(chosen.data, split), chosen.limit)
    with extra("evaluate", "the official evaluation of WIDER FACE"):
        official = comparison.official_faces(chosen.data, split)
    detectors = [open_model(path, name) for path, name in zip(chosen.models, _names(chosen.models), strict=True)]
    peers, missing = _open_peers([peer for peer in PEERS if not chosen.peer or peer.name in chosen.peer])
    detectors += peers
    console.say(f"showing {len(images):,} images to {len(detectors)} detectors")
    with console.progress("comparing", len(images)) as advance:
        answers, unreadable = comparison.look_at_all(detectors, images, chosen.long_side, advance)
    report = comparison_report.Report(
        data=str(chosen.data),
        split=split,
        fingerprint=reading.fingerprint(images),
        images=len(images),
        faces=sum(int((~each.ignore_N).sum()) for each in images),
        long_side=chosen.long_side,
        rows=comparison.metrics(detectors, answers, images, official),
        missing=missing,
        unreadable=unreadable,
        failures=[
            (detector.name, *each.failures[0])
            for detector, each in zip(detectors, answers, strict=True)
            if each.failures
        ],
    )
    text = comparison_report.as_json(report) if chosen.format == "json" else comparison_report.as_table(report)
    with output.open_output(chosen.out, overwrite=chosen.overwrite) as stream:
        stream.write(f"{text}\n")
    return InputError.exit_code if unreadable else 0


def _open_peers(peers: list[Peer]) -> tuple[list[Detector], list[tuple[str, str]]]:
    """Returns those that open, and name and reason of those that do not."""
    detectors, missing = [], []
    for peer in peers:
        try:
            detectors.append(peer.open(peer))
        except ModuleNotFoundError as problem:
            missing.append((peer.name, f"not installed (no {problem.name}): pip install {peer.package}, see README.md"))
        except Exception as problem:  # another version of it, and whatever that may raise
            missing.append((peer.name, f"cannot be opened: {type(problem).__name__}: {problem}"))
    return detectors, missing


def _names(models: list[Path]) -> list[str]:
    """Short names where they tell the files apart, else the paths."""
    stems = [path.stem for path in models]
    return stems if len(set(stems)) == len(stems) else [str(path) for path in models]


def _check_free(path: Path | None, overwrite: bool) -> None:
    """Finds out before the work, not after it, that the result would replace a file."""
    if path is not None and path.exists() and not overwrite:
        raise InputError(f"{path} exists already", "name another file, or say --overwrite")


def _pixels(text: str) -> int:
    if text == "original":
        return 0
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is no number of pixels: give one such as 640, or: original")
    return int(text)


def _arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL", help="model files of mlcycle")
    parser.add_argument("--data", type=Path, required=True, help="a labelled set: WIDER FACE, COCO or YOLO")
    parser.add_argument("--split", default="", help="its split; without it val, or the only one")
    parser.add_argument("--long-side", type=_pixels, default=640, metavar="N|original", help="pixels; 640 by default")
    parser.add_argument("--limit", type=int, default=0, help="only so many images, spread over the set; 0: all")
    names = [peer.name for peer in PEERS]
    parser.add_argument("--peer", action="append", choices=names, help="only this peer; may be given several times")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument("--out", type=Path, help="write the figures to this file instead of stdout")
    parser.add_argument("--overwrite", action="store_true", help="replace that file if it exists")
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
