"""Whether this process is mlcycle's own, or that of a program that uses the library.

In its own process, mlcycle silences the packages that it uses and sets their limits. In a host program's process it
leaves them unchanged: their output, warnings and limits are the program's decision.
"""

from __future__ import annotations

import warnings

_claimed = False


def claim() -> None:
    """Marks this process as mlcycle's own: that of the command line, or one that it started."""
    global _claimed  # noqa: PLW0603 (the mark holds for the whole process)
    _claimed = True
    # Pillow's warnings about odd files would appear between the messages on stderr; real problems are errors.
    warnings.filterwarnings("ignore", module=r"PIL\.")


def is_claimed() -> bool:
    """Returns whether this process is mlcycle's own."""
    return _claimed
