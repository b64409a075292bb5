"""The query parameters of the endpoints for people and scripts: the options of `mlcycle infer`, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from mlcycle.errors import UsageError
from mlcycle.inference import views
from mlcycle.inference.copies.redact import RedactionMethod
from mlcycle.inference.detect import DetectOptions, Detector
from mlcycle.serving.settings import ServerSettings

DETECT = ("model", "name", "threshold", "at", "long_side")
REDACT = (*DETECT, "method")
METHODS: tuple[RedactionMethod, ...] = ("blur", "pixelate", "fill")
MAX_NAME_LENGTH = 1024
# The time that one request takes grows with the number of long sides and the square of each.
MAX_LONG_SIDES, MAX_LONG_SIDE = 3, 4096


def checked(parameters: Sequence[tuple[str, str]], known: tuple[str, ...]) -> dict[str, str]:
    """Returns the parameters by name: a misspelt threshold must not be ignored, nor one of two.

    Raises:
        UsageError: there is no such parameter, or it is given twice.
    """
    for name, _ in parameters:
        if name not in known:
            raise UsageError(f"no such parameter: {name[:40]}", f"there are {', '.join(known)}")
    unique = dict(parameters)
    if len(unique) < len(parameters):
        raise UsageError("a parameter is given twice", "give each once")
    return unique


def detect_options(parameters: Mapping[str, str], detector: Detector, settings: ServerSettings) -> DetectOptions:
    """Returns how to detect faces, for parameters with the names of the options of `mlcycle infer`.

    Raises:
        UsageError: a value is not understood, or the model does not have it.
    """
    given, at = parameters.get("threshold"), parameters.get("at")
    threshold = None if given is None else _number(given, "threshold")
    chosen = None if threshold is None and at is None else detector.contract.choose_threshold(threshold, at)
    text = parameters.get("long_side")
    long_sides = None if text is None else views.long_sides_of_text(text[:80], "long_side")
    if long_sides is not None and (len(long_sides) > MAX_LONG_SIDES or max(long_sides) > MAX_LONG_SIDE):
        what = f"more than {MAX_LONG_SIDES} long sides, or one above {MAX_LONG_SIDE} pixels, would take too long"
        raise UsageError(what, "pass 640, original or 640,original")
    detector.check_long_sides(long_sides)
    return DetectOptions(threshold=chosen, long_sides=long_sides, max_pixels=settings.max_pixels)


def redaction_method(parameters: Mapping[str, str]) -> RedactionMethod:
    """Returns the method of redaction; blur without the parameter.

    Raises:
        UsageError: there is no such method.
    """
    wanted = parameters.get("method", "blur")
    for method in METHODS:
        if method == wanted:
            return method
    raise UsageError(f"method {wanted[:40]!r} is not one of {', '.join(METHODS)}", "choose one of them")


def image_name(parameters: Mapping[str, str]) -> str:
    """Returns the name that the record gives to the image; "image" without the parameter.

    Raises:
        UsageError: it is too long.
    """
    name = parameters.get("name", "image")
    if len(name) > MAX_NAME_LENGTH:
        raise UsageError(f"a name has at most {MAX_NAME_LENGTH} characters", "shorten it")
    return name or "image"


def _number(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"{name} {text[:40]!r} is not a number", "give a number such as 0.5")
    return value
