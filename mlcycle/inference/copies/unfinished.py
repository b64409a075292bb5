"""What a copy is called until it is whole."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def beside(path: Path, token: str = "") -> Path:
    """Returns a place beside a file or folder that is to be, short enough for any file system.

    With the same token it is the same place: so whoever goes on with a run takes away what a killed process left there.
    Without one nobody else has it.
    """
    name = os.fsencode(path.name + (token or os.urandom(8).hex()))
    return path.with_name(f".mlcycle-{hashlib.blake2b(name, digest_size=8).hexdigest()}.part")
