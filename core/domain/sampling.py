"""How many images of each class train and validate, from how many there are: arithmetic, without any image."""

from collections.abc import Sequence

from core.domain.training_options import Sampling


def count_held_out(images: Sequence[int], fraction: float) -> list[int]:
    """Return how many images of each class validate: a share, rounded; the last image of a class goes on training."""
    return [min(round(count * fraction), max(count - 1, 0)) for count in images]


def count_kept(images: Sequence[int], sampling: Sampling) -> list[int]:
    """Return how many images of each class stay in the training, from how many there are.

    A class that has images keeps at least one.
    """
    most = sampling.max_per_class or max(images, default=0)
    return [min(max(round(count * sampling.fraction), 1), most) if count else 0 for count in images]


def count_taken(kept: Sequence[int], sampling: Sampling) -> list[int]:
    """Return how many images of each class one epoch takes, from how many stay; a class without images takes none."""
    present = [count for count in kept if count]
    match sampling.balance:
        case "oversample":
            each = max(present, default=0)
        case "undersample":
            each = min(present, default=0)
        case _:
            return list(kept)
    return [each if count else 0 for count in kept]
