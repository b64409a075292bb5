"""How `mlcycle freeze` and `mlcycle model reproduce` tell of the thresholds that they choose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlcycle.cli import console

if TYPE_CHECKING:
    from mlcycle.training.export.operating_points import Points


def tell(points: Points) -> None:
    """Shows the thresholds and what they do on the images that they were chosen on; warns of what is missing."""
    if not points.measured:
        console.warn(f"the file has the recipe's threshold alone, and none could be chosen: {points.why_not}")
        return
    told = points.measured
    console.say(f"thresholds on {told['photographs']:,} held-out images with {told['faces']:,} faces:")
    console.say(f"  {'':<10}{'threshold':>10}{'recall':>10}{'precision':>11}   false alarms an image")
    for name, figures in told["points"].items():
        threshold = f"{points.thresholds[name]:g}"
        alarms = figures["false_alarms_a_photograph"]
        console.say(
            f"  {name:<10}{threshold:>10}{_share(figures['recall']):>10}{_share(figures['precision']):>11}   {alarms:g}"
        )
    if "precise" not in points.thresholds:
        allowed = told["false_alarms_allowed"]["precise"]
        console.warn(
            f"no threshold keeps to {allowed:g} false alarms an image, so that the file has no point 'precise'"
        )


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
