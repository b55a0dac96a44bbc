"""Which training images are used at all, which of them an epoch takes in which order, and how much each counts."""

import numpy as np
import numpy.typing as npt

from core.domain.sampling import count_kept, count_taken
from core.domain.training_options import TrainingConfig
from core.training.draws import Purpose, make_generator
from core.training.images import Positions

Labels = npt.NDArray[np.int32]


def keep_images(train: Positions, labels: Labels, config: TrainingConfig) -> Positions:
    """Return the part of ``train`` that the whole training uses, ascending: of each class a share drawn by the seed.

    Args:
        train: Positions in the pack.
        labels: Of all images of the pack.
        config: Its ``sampling`` says how many.
    """
    classes = _split_classes(train, labels)
    wanted = count_kept([len(members) for members in classes], config.sampling)
    if sum(wanted) == len(train):
        return train
    generator = make_generator(config.seed, Purpose.SAMPLE)
    kept = [generator.permutation(members)[:count] for members, count in zip(classes, wanted, strict=True)]
    return np.sort(np.concatenate(kept))


def order_epoch(train: Positions, labels: Labels, config: TrainingConfig, epoch: int) -> Positions:
    """Return the positions that ``epoch`` trains on, in order; every epoch has as many.

    Where classes are balanced, each epoch draws anew: of a large class other images, or of a small one other images
    once more, after all of them were taken as often as they fit.
    """
    generator = make_generator(config.seed, Purpose.ORDER, epoch)
    if config.sampling.balance in ("oversample", "undersample"):
        classes = _split_classes(train, labels)
        wanted = count_taken([len(members) for members in classes], config.sampling)
        drawn = [_draw(members, count, generator) for members, count in zip(classes, wanted, strict=True)]
        train = np.concatenate(drawn)
    return generator.permutation(train)


def weigh_classes(train: Positions, labels: Labels, classes: int) -> npt.NDArray[np.float32]:
    """Return the weight of each class ``(classes,)``: all classes with images weigh alike, an image 1 in the mean."""
    counts = np.bincount(labels[train], minlength=classes)
    weights = len(train) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return np.where(counts, weights, 0).astype(np.float32)


def _split_classes(train: Positions, labels: Labels) -> list[Positions]:
    """Return the positions of each class, ascending; the last class is the last that has an image."""
    own = labels[train]
    order = np.argsort(own, kind="stable")
    return np.split(train[order], np.cumsum(np.bincount(own))[:-1])


def _draw(members: Positions, count: int, generator: np.random.Generator) -> Positions:
    """Return ``count`` of ``members``, each as often as any other or once more."""
    if not count:
        return members[:0]
    times, rest = divmod(count, len(members))
    return np.concatenate([np.tile(members, times), generator.permutation(members)[:rest]])
