"""The report of a redacted folder as one HTML page, without any pixels of the images."""

from __future__ import annotations

from typing import Any

from mlcycle.counted import counted
from mlcycle.inference.record import JPEG_QUALITY, Part, title
from mlcycle.reporting import pages

_METHODS = {
    "blur": "blurred: at most the means of 2 x 3 cells of each region are left, smoothly",
    "pixelate": "pixelated: at most the means of 2 x 3 cells of each region are left, as squares",
    "fill": "filled: nothing of a region is left",
}


def render(document: dict[str, Any]) -> str:
    """Returns the page of a report."""
    return pages.render(
        "redaction.html",
        title="What was redacted",
        subject=_subject(document),
        tiles=_tiles(document),
        rows=_rows(document),
        reasons=sorted(document["without_copy"]["by_code"].items()),
        without_copy=[(_name(each), each["message"]) for each in document["without_copy"]["images"]],
        decisions=document["decisions"],
        decided=[(_name(each), _decided(each)) for each in document["decisions"]["list"]],
        open=_open(document["counts"]),
        not_named=document["without_copy"]["not_named"],
        passes=[each | {name: _time(each[name]) for name in ("started", "finished")} for each in document["passes"]],
        private=document["private"],
    )


def _subject(document: dict[str, Any]) -> str:
    folder = f" of {document['folder']}" if document["folder"] else ""
    images = counted(document["counts"]["images"], "image")
    return f"The {images}{folder}, by mlcycle {document['mlcycle']}."


def _tiles(document: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Returns name, value and note of the most important numbers."""
    counts, doubtful = document["counts"], document["counts"]["doubtful_regions"]
    frames = f", {counts['frames']:,} of them frames of videos" if counts["frames"] else ""
    return [
        ("Images", f"{counts['images']:,}", f"found{frames}"),
        ("Copies", f"{counts['copies']:,}", "without metadata"),
        ("Regions", f"{counts['covered_regions']:,}", _regions(document)),
        ("Doubtful", f"{doubtful:,}", f"score below {document['doubtful_below']:g}"),
        ("No face", f"{counts['images_without_a_face']:,}", "images in which none was found"),
        ("No copy", f"{document['without_copy']['count']:,}", "unreadable or damaged images"),
    ]


def _rows(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Returns name and text of each setting."""
    model, point = document["model"], document["operating_point"]
    sides = " and ".join("original size" if not each else f"{each:,}" for each in document["long_sides"] or [])
    rows = [
        ("Model", f"{model['name']}, sha256 {model['sha256']}"),
        (
            "Signature of the model",
            f"required, by the key {model['signed_by']}" if model["signed_by"] else "not required",
        ),
        ("Operating point", f"{point or 'none'}: regions that score at least {document['threshold']:g} are covered"),
        (
            "Doubtful regions",
            f"those with a score below {document['doubtful_below']:g}, from which a region counts as a face",
        ),
        ("Method", f"{_METHODS[document['method']]}; in an ellipse 1.8 times as wide and high as the face's box"),
        ("Long side of the input", f"{sides} pixels" if document["long_sides"] else "the model's own"),
        ("Largest image", f"{document['max_pixels']:,} pixels"),
        ("Copies", f"JPEGs of quality {JPEG_QUALITY}, other images as PNG; no metadata"),
        ("Run", document["run"]),
    ]
    if gone := document["counts"]["gone"]:
        rows.append(("Gone", f"{counted(gone, 'image')} no longer in the folder when it was last searched"))
    return rows


def _time(text: str | None) -> str:
    """Returns a time as "2026-12-31 23:59 UTC"; "interrupted" for that of a pass that did not end."""
    return f"{text[:10]} {text[11:16]} UTC" if text else "interrupted"


def _regions(document: dict[str, Any]) -> str:
    """Returns how the number of covered regions came about."""
    decisions = document["decisions"]
    if not decisions["changed_images"]:
        return "covered"
    found, removed, added = document["counts"]["regions"], decisions["removed_regions"], decisions["added_regions"]
    return f"covered: {found:,} found, {removed:,} removed, {added:,} added"


def _open(counts: dict[str, int]) -> str:
    """Returns how many images nobody has reviewed."""
    frames = " Frames of videos are not in a review." if counts["frames"] else ""
    if count := counts["images_not_reviewed"]:
        return f"Not reviewed: {counted(count, 'image')} with doubtful regions or without any face.{frames}"
    return f"All images with doubtful regions or without any face were reviewed.{frames}"


def _decided(image: dict[str, Any]) -> str:
    """Returns a decision in words."""
    parts = ["accepted"] if image["accepted"] else []
    parts += [f"{counted(len(image[kind]), 'region')} {kind}" for kind in ("removed", "added") if image[kind]]
    who = f" (by {image['by']}, {_time(image['at'])})" if image["by"] else ""
    return ", ".join(parts) + who


def _name(image: dict[str, Any]) -> str:
    return title(image["input"], Part(**image["part"]) if image["part"] else None)
