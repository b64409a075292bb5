"""Compares model files of mlcycle with other face detectors: accuracy and time on the same images, in one run.

    python benchmarks/peers.py MODEL [MODEL ...] --data DIR [--split val] [--long-side 640|original]

Needs mlcycle (with its extra `evaluate` for the official WIDER FACE levels), and the peers to compare. Peers that are
not installed are listed in the result, and the others run. README.md in this folder describes how to install them and
what is measured.
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
    arguments = _arguments(words)
    try:
        return compare(arguments)
    except MlcycleError as problem:
        console.fail(problem.message, problem.hint)
        return problem.exit_code
    except KeyboardInterrupt:
        console.fail("interrupted; nothing was written")
        return 130


def compare(arguments: argparse.Namespace) -> int:
    """Opens the detectors, runs them on the images, and writes the metrics; returns the exit code."""
    _check_free(arguments.out, arguments.overwrite)
    split = arguments.split or ("val" if "val" in reading.splits(arguments.data) else "")
    images = evaluate.spread(reading.read(arguments.data, split), arguments.limit)
    with extra("evaluate", "the official evaluation of WIDER FACE"):
        official = comparison.official_faces(arguments.data, split)
    detectors = [open_model(path, name) for path, name in zip(arguments.models, _names(arguments.models), strict=True)]
    peers, missing = _open_peers([peer for peer in PEERS if not arguments.peer or peer.name in arguments.peer])
    detectors += peers
    console.say(f"running {len(detectors)} detectors on {len(images):,} images")
    with console.progress("comparing", len(images)) as advance:
        results, unreadable = comparison.detect_all(detectors, images, arguments.long_side, advance)
    report = comparison_report.Report(
        data=str(arguments.data),
        split=split,
        fingerprint=reading.fingerprint(images),
        images=len(images),
        faces=sum(int((~each.ignore_N).sum()) for each in images),
        long_side=arguments.long_side,
        rows=comparison.metrics(detectors, results, images, official),
        missing=missing,
        unreadable=unreadable,
        failures=[
            (detector.name, *each.failures[0])
            for detector, each in zip(detectors, results, strict=True)
            if each.failures
        ],
    )
    text = comparison_report.as_json(report) if arguments.format == "json" else comparison_report.as_table(report)
    with output.open_output(arguments.out, overwrite=arguments.overwrite) as stream:
        stream.write(f"{text}\n")
    return InputError.exit_code if unreadable else 0


def _open_peers(peers: list[Peer]) -> tuple[list[Detector], list[tuple[str, str]]]:
    """Returns the detectors of the peers that open, and name and reason of the others."""
    detectors, missing = [], []
    for peer in peers:
        try:
            detectors.append(peer.open(peer))
        except ModuleNotFoundError as problem:
            missing.append((peer.name, f"not installed (no {problem.name}): pip install {peer.package}, see README.md"))
        except Exception as problem:  # any error of another version
            missing.append((peer.name, f"cannot be opened: {type(problem).__name__}: {problem}"))
    return detectors, missing


def _names(models: list[Path]) -> list[str]:
    """Returns the base names of the files if they are unique, else their paths."""
    base_names = [path.stem for path in models]
    return base_names if len(set(base_names)) == len(base_names) else [str(path) for path in models]


def _check_free(path: Path | None, overwrite: bool) -> None:
    """Checks before the work starts that the result does not replace a file."""
    if path is not None and path.exists() and not overwrite:
        raise InputError(f"{path} already exists", "choose another file, or pass --overwrite")


def _pixels(text: str) -> int:
    if text == "original":
        return 0
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is not a number of pixels: give one such as 640, or original")
    return int(text)


def _arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL", help="model files of mlcycle")
    parser.add_argument("--data", type=Path, required=True, help="a labelled set: WIDER FACE, COCO or YOLO")
    parser.add_argument("--split", default="", help="its split; by default val, or the only one")
    parser.add_argument(
        "--long-side",
        type=_pixels,
        default=640,
        metavar="N|original",
        help="resize images to this long side in pixels; default 640",
    )
    parser.add_argument(
        "--limit", type=int, default=0, help="use at most this many images, spread over the set; 0: all"
    )
    names = [peer.name for peer in PEERS]
    parser.add_argument("--peer", action="append", choices=names, help="only this peer; can be repeated")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument("--out", type=Path, help="write the results to this file instead of stdout")
    parser.add_argument("--overwrite", action="store_true", help="replace that file if it exists")
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
