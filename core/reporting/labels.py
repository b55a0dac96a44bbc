"""Images that are likely labelled wrongly, by confident learning.

Northcutt, Jiang, Chuang: Confident learning: estimating uncertainty in dataset labels (2021), section 3.1. The method
asks for probabilities from a model that has not learnt from the images. Those of the test split are such; those of the
validation split chose the epoch at most. Images that trained are left out: a net that has learnt a wrong label by heart
gives it.
"""

import numpy as np
import numpy.typing as npt


def find_suspicions(shares: npt.NDArray[np.floating], labels: npt.NDArray[np.int32]) -> list[tuple[int, int]]:
    """Return the images that another class claims, each with that class, the most suspicious first.

    A class claims an image whose probability for it is at least the mean one of the images that have its label. Of
    several classes the most probable has it. First come those whose own label is the least probable beside it.

    Args:
        shares: Probabilities ``(images, classes)`` of a model that has not learnt from the images.
        labels: Index of each image's class ``(images,)``.
    """
    images, classes = shares.shape
    if not images:
        return []
    own = shares[np.arange(images), labels]
    counts = np.bincount(labels, minlength=classes)
    # A class that no image has been given claims none.
    with np.errstate(invalid="ignore", divide="ignore"):
        thresholds = np.where(counts > 0, np.bincount(labels, weights=own, minlength=classes) / counts, np.inf)
    claims = np.where(shares >= thresholds, shares, -1.0)
    claimed = claims.argmax(axis=1)
    found = np.flatnonzero((claims.max(axis=1) >= 0) & (claimed != labels))
    order = np.argsort(own[found] - shares[found, claimed[found]], kind="stable")
    return [(int(index), int(claimed[index])) for index in found[order]]
