"""Whether this process is mlcycle's own, or that of a program that uses the library.

A process of its own silences the packages that it uses and sets their limits. In another's they stay as they are: what
they print, warn of and refuse there is for that program to decide.
"""

from __future__ import annotations

import warnings

_claimed = False


def claim() -> None:
    """Says that this process is mlcycle's own: the command line's, or one that it started."""
    global _claimed  # noqa: PLW0603 (a process is claimed once, for all that runs in it)
    _claimed = True
    # Pillow warns of odd files on stderr, where the words would stand between the records. What matters is an error.
    warnings.filterwarnings("ignore", module=r"PIL\.")


def is_claimed() -> bool:
    """Tells whether this process is mlcycle's own."""
    return _claimed
