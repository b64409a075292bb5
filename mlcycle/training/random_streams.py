"""The random streams of a training: all that is drawn has a generator of its own, which the seed and a number decide.

So a resumed run needs no random state, and no draw depends on how many others came before it.
"""

from __future__ import annotations

from enum import IntEnum, unique

import numpy as np


@unique
class Stream(IntEnum):
    """What is drawn; for each sample, step or epoch of a run."""

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
        number: of the sample, step or epoch.
        part: of it; 0 where it has none.
    """
    return np.random.default_rng((seed, number, stream, part))
