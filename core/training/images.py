"""The images of a pack as a training needs them: who trains, who validates, and how pixels become numbers."""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.datasets.packs import Pack
from core.domain.sampling import count_held_out
from core.domain.training_options import TrainingConfig
from core.training.draws import Purpose, make_generator

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Positions in the pack of each part, ascending."""

    train: Positions
    validation: Positions
    test: Positions


def split_images(pack: Pack, config: TrainingConfig) -> Split:
    """Return the parts: the dataset's own validation split, or a share of the training split of each class."""
    train, validation = pack.indices("train"), pack.indices("validation")
    if not len(validation):
        train, validation = _hold_out(pack, train, config)
    return Split(train=train, validation=validation, test=pack.indices("test"))


def _hold_out(pack: Pack, train: Positions, config: TrainingConfig) -> tuple[Positions, Positions]:
    """Take a share of each class, rounded, so that at least one image of the class goes on training."""
    generator = make_generator(config.seed, Purpose.SPLIT)
    labels = pack.labels[train]
    held = np.zeros(len(train), bool)
    members = [np.flatnonzero(labels == label) for label in range(len(pack.classes))]
    counts = count_held_out([len(own) for own in members], config.validation.fraction)
    for own, count in zip(members, counts, strict=True):
        held[generator.permutation(own)[:count]] = True
    return train[~held], train[held]


def fingerprint(pack: Pack) -> str:
    """Return a digest of what the pack holds, from its labels, paths, shape and exact statistics.

    It reads no pixels, so that a large dataset costs nothing; another image would change the statistics.
    """
    digest = hashlib.sha256(repr((pack.pixels.shape, pack.classes, pack.mean, pack.deviation)).encode())
    digest.update(pack.labels.tobytes())
    digest.update(pack.splits.tobytes())
    return digest.hexdigest()


def scale_pixels(config: TrainingConfig, pack: Pack) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return scale and shift ``(channels, 1, 1)`` that bring raw pixels (0–255) to the range of ``normalize``."""
    mean, deviation = np.array(pack.mean), np.array(pack.deviation)
    ones = np.ones(pack.channels)
    scale, shift = {
        "dataset": (1 / (255 * deviation), -mean / deviation),
        "unit": (ones / 255, 0 * ones),
        "none": (ones, 0 * ones),
        # Section II.B of the paper: the mean of an image of digits is then about 0 and its deviation about 1.
        "lecun_1998": (1.275 * ones / 255, -0.1 * ones),
    }[config.normalize]
    return scale.reshape(-1, 1, 1).astype(np.float32), shift.reshape(-1, 1, 1).astype(np.float32)
