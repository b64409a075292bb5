"""Of boxes that were spoilt on purpose, how many are in the first tenth of what `mlcycle data suspects` lists?

    python benchmarks/suspects.py MODEL --data PATH[,SPLIT] ... [--studied PATH[,SPLIT] ...] [--images 1000]

Needs mlcycle installed. `--data` names labelled sets that the model has not studied; `--studied` names sets that it
learnt from, of which only the validation images of a recipe (`--val-fraction`, 0.05) count as not trained on.
All of the not studied are taken, up to `--images`, and others from the studied sets where they are too few; the
figures come for all together and for each kind of image alone.

Of the boxes a share (`--share`, 0.05) is spoilt, a quarter each: deleted; shifted by a third of their sides in any
direction; made larger by a factor of 1.6; and a box of the same sides put where no label is. Labelled points are left
out, so that boxes alone speak. The list is cut after as many rows as a tenth of the labels. A spoilt box is found if
its label is among them, or, for those deleted, shifted and resized, a row "no label" whose box overlaps the true one by
an intersection over union of at least .5. `--seeds` repeats it with other boxes.
"""

from __future__ import annotations

import argparse
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mlcycle.datasets import image_header, reading
from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.evaluation import matching
from mlcycle.inference.batch.worker_threads import cores
from mlcycle.inference.detect import Detector, load_detector
from mlcycle.workflows import suspects
from mlcycle.workflows.predictions import Prediction, predict_all

WAYS = ("deleted", "shifted", "resized", "invented")
FIRST, TRIES = 0.1, 100
Sized = list[tuple[LabelledImage, tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class Spoilt:
    """One box that was spoilt: how, the number of its image, the box before and after (x1 y1 x2 y2 in pixels)."""

    way: str
    image: int
    true_4: np.ndarray | None
    wrong_4: np.ndarray | None


def spoil(images: Sized, share: float, seed: int) -> tuple[list[LabelledImage], list[Spoilt]]:
    """Returns the images with wrong labels, and what was done to them."""
    random = np.random.default_rng(seed)
    faces = [(at, int(row)) for at, (each, _) in enumerate(images) for row in np.flatnonzero(~each.ignore_N)]
    quarter = round(share * len(faces) / len(WAYS))
    chosen = random.permutation(len(faces))[: quarter * len(WAYS)]
    boxes = [each.boxes_N4.astype(float) for each, _ in images]
    kept = [np.ones(len(each), bool) for each in boxes]
    added: list[list[np.ndarray]] = [[] for _ in images]
    done = []
    for number, each in enumerate(chosen):
        at, row = faces[each]
        way, true_4 = WAYS[number // quarter], boxes[at][row].copy()
        wrong_4 = None
        if way == "deleted":
            kept[at][row] = False
        elif way == "invented":
            wrong_4 = _invent(true_4, images[at][1], np.concatenate([boxes[at], *added[at]]), random)
            if wrong_4 is None:
                continue
            added[at].append(wrong_4[None])
        else:
            wrong_4 = boxes[at][row] = _wrong(way, true_4, random)
        done.append(Spoilt(way, at, None if way == "invented" else true_4, wrong_4))
    return [_labelled(each, *labels) for (each, _), *labels in zip(images, boxes, kept, added, strict=True)], done


def _wrong(way: str, box_4: np.ndarray, random: np.random.Generator) -> np.ndarray:
    sides_2, angle = box_4[2:] - box_4[:2], random.uniform(0, 2 * np.pi)
    if way == "shifted":
        return box_4 + np.tile(sides_2 / 3 * [np.cos(angle), np.sin(angle)], 2)
    return box_4 + np.concatenate([-sides_2, sides_2]) * 0.3


def _invent(
    like_4: np.ndarray, size: tuple[int, int], labels_N4: np.ndarray, random: np.random.Generator
) -> np.ndarray | None:
    sides_2 = like_4[2:] - like_4[:2]
    room_2 = np.array(size) - sides_2
    for _ in range(TRIES if (room_2 > 0).all() else 0):
        corner_2 = random.random(2) * room_2
        box_4 = np.concatenate([corner_2, corner_2 + sides_2])
        if not matching.intersections(box_4[None], labels_N4).any():
            return box_4
    return None


def _labelled(image: LabelledImage, boxes_N4: np.ndarray, kept_N: np.ndarray, added: list[np.ndarray]) -> LabelledImage:
    boxes_N4 = np.concatenate([boxes_N4[kept_N], *added])
    return replace(
        image,
        boxes_N4=boxes_N4.astype(np.float32),
        ignore_N=np.append(image.ignore_N[kept_N], np.zeros(len(added), bool)),
        landmarks_N52=np.full((len(boxes_N4), 5, 2), np.nan, np.float32),
    )


def found(listed: Sequence[suspects.Suspect], images: Sequence[LabelledImage], spoilt: Spoilt) -> bool:
    """Tells whether a row of the list is about a spoilt box."""
    return any(_is_about(each, spoilt) for each in listed if each.image.name == images[spoilt.image].name)


def _is_about(suspect: suspects.Suspect, spoilt: Spoilt) -> bool:
    if suspect.labelled_4 is not None:
        return spoilt.wrong_4 is not None and bool(np.allclose(suspect.labelled_4, spoilt.wrong_4, atol=0.01))
    if spoilt.true_4 is None or suspect.suggested_4 is None:
        return False
    overlap = matching.overlaps(suspect.suggested_4[None].astype(float), spoilt.true_4[None], np.zeros(1, bool))
    return float(overlap[0, 0]) >= 0.5


def gather(data: list[str], studied: list[str], val_fraction: float) -> tuple[list[LabelledImage], ...]:
    """Returns the images that were not studied, and those that were."""
    fresh, known = [_apart(each) for name in data for each in _read(name)], []
    for image in (each for name in studied for each in _read(name)):
        (fresh if _draw(image.name) < val_fraction else known).append(_apart(image))
    return fresh, known


def _read(named: str) -> list[LabelledImage]:
    path, _, split = named.partition(",")
    return reading.read(path, split)


def _apart(image: LabelledImage) -> LabelledImage:
    """A name is unique within its set alone, a path everywhere."""
    return replace(image, name=str(image.path))


def _draw(name: str) -> float:
    """As a recipe holds images out: by their names within the set."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8], "big") / 2**64


def measure(detector: Detector, images: Sized, answers: list[Prediction], chosen: argparse.Namespace) -> str:
    """Returns how many spoilt boxes of each way are found, over all seeds."""
    hits, of, labels, rows = Counter[str](), Counter[str](), 0, 0
    for seed in range(chosen.seeds):
        wrong, done = spoil(images, chosen.share, seed)
        ranked = suspects.rank(wrong, answers, detector, chosen.long_side)
        labels, rows = ranked.labels, round(ranked.labels * FIRST)
        for each in done:
            of[each.way] += 1
            hits[each.way] += found(ranked.listed[:rows], wrong, each)
    ways = ", ".join(f"{way} {hits[way] / max(1, of[way]):.0%} of {of[way]}" for way in WAYS)
    whole = sum(hits.values()) / max(1, sum(of.values()))
    return f"{len(images):,} images, {labels:,} labels: {whole:.1%} found in the first {rows:,} rows ({ways})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", nargs="*", default=[], metavar="PATH[,SPLIT]")
    parser.add_argument("--studied", nargs="*", default=[], metavar="PATH[,SPLIT]")
    parser.add_argument("--val-fraction", type=float, default=0.05)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--long-side", type=int, help="of the input in pixels; 0: the image's own")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0: one for each core")
    chosen = parser.parse_args()
    detector = load_detector(chosen.model, provider="cpu", threads=1)
    random = np.random.default_rng(0)
    fresh, known = gather(chosen.data, chosen.studied, chosen.val_fraction)
    fresh = [fresh[each] for each in random.permutation(len(fresh))[: chosen.images]]
    known = [known[each] for each in random.permutation(len(known))[: chosen.images - len(fresh)]]
    sized = [(each, image_header.upright_size(each.path)) for each in (*fresh, *known)]
    workers = min(chosen.workers or cores(), len(sized))
    answers = list(predict_all(detector, [each.path for each, _ in sized], chosen.long_side, workers))
    parts = {"all": slice(None), "not studied": slice(len(fresh)), "studied": slice(len(fresh), None)}
    for name, part in parts.items():
        if sized[part] and (name == "all" or (fresh and known)):
            print(f"{name}: {measure(detector, sized[part], answers[part], chosen)}", flush=True)


if __name__ == "__main__":
    main()
