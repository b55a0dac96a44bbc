"""Random draws that depend on where in a training they are made, and on nothing that was drawn before.

Each step seeds the generators anew from the config's seed and its own place. A training that is resumed in the middle
of an epoch therefore draws what it would have drawn, and no generator's state has to be kept.
"""

import hashlib
import struct
from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What is drawn; each has numbers of its own. The values are part of what makes old trainings repeatable."""

    SPLIT = 1
    WEIGHTS = 2
    ORDER = 3
    STEP = 4
    SAMPLE = 5
    PROBE = 6


def derive_seed(seed: int, purpose: Purpose, epoch: int = 0, batch: int = 0) -> int:
    """Return 63 bits that only these arguments determine."""
    digest = hashlib.blake2b(struct.pack("<4q", seed, purpose, epoch, batch), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def make_generator(seed: int, purpose: Purpose, epoch: int = 0, batch: int = 0) -> np.random.Generator:
    """Return a NumPy generator."""
    return np.random.Generator(np.random.PCG64(derive_seed(seed, purpose, epoch, batch)))
