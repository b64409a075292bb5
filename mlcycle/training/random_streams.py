"""The random streams of a training: each draw has its own generator, a function of the seed and a number.

So a resumed run needs no random state, and no draw depends on earlier ones.
"""

from __future__ import annotations

from enum import IntEnum, unique

import numpy as np


@unique
class Stream(IntEnum):
    """What is drawn for each sample, step or epoch of a run."""

    SAMPLE = 0
    STEP_SIZE = 1
    NOISE_WINDOW = 2
    IMAGE_ORDER = 3
    SHARD_ORDER = 4
    NOISE_FIELD = 5


def generator(stream: Stream, seed: int, number: int = 0, part: int = 0) -> np.random.Generator:
    """Returns the generator of one draw.

    Args:
        stream: what is drawn.
        seed: the recipe's.
        number: the number of the sample, step or epoch.
        part: a part of it; 0 if it has no parts.
    """
    return np.random.default_rng((seed, number, stream, part))
