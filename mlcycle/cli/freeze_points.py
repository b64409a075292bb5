"""Reports the thresholds that `mlcycle freeze` and `mlcycle model reproduce` choose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlcycle.cli import console
from mlcycle.counted import counted

if TYPE_CHECKING:
    from mlcycle.training.export.operating_points import Points


def report_points(points: Points) -> None:
    """Prints the thresholds with their metrics on the validation images; warns about missing ones."""
    if not points.measured:
        console.warn(f"the file has only the recipe's threshold; no other could be chosen: {points.why_not}")
        return
    measured = points.measured
    images, faces = counted(measured["photographs"], "validation image"), counted(measured["faces"], "face")
    console.say(f"thresholds on {images} with {faces}:")
    console.say(f"  {'':<10}{'threshold':>10}{'recall':>10}{'precision':>11}   false alarms per image")
    for name, metrics in measured["points"].items():
        threshold = f"{points.thresholds[name]:g}"
        alarms = metrics["false_alarms_a_photograph"]
        console.say(
            f"  {name:<10}{threshold:>10}{_share(metrics['recall']):>10}{_share(metrics['precision']):>11}   {alarms:g}"
        )
    if "precise" not in points.thresholds:
        allowed = counted(measured["false_alarms_allowed"]["precise"], "false alarm")
        console.warn(f"no threshold has at most {allowed} per image, so the file has no threshold 'precise'")


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
