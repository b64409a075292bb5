"""What a shell completes: names of models and recipes that come with mlcycle, and operating points.

Of anything else the shell completes file names. Each function takes the beginning of the word.
"""

from __future__ import annotations


def models(incomplete: str) -> list[str]:
    """Returns the bundled models that begin so."""
    from mlcycle.artifact import bundled

    return [each for each in bundled.names() if each.startswith(incomplete)]


def recipes(incomplete: str) -> list[str]:
    """Returns the recipes that begin so; none if training is not installed."""
    try:
        from mlcycle.training.recipes import recipe_file
    except ImportError:
        return []
    return [each for each in recipe_file.names() if each.startswith(incomplete)]


def operating_points(incomplete: str) -> list[str]:
    """Returns the operating points that begin so."""
    return [each for each in ("balanced", "precise", "sensitive") if each.startswith(incomplete)]
