"""Whether a model is as often right as it is sure."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from core.domain.reports import CALIBRATION_BINS, ConfidenceBin


def fill_bins(confidence: npt.NDArray[np.floating], right: npt.NDArray[np.bool_]) -> list[ConfidenceBin]:
    """Return the bins that have images, by rising confidence.

    Args:
        confidence: Of each answer, 0–1 ``(images,)``.
        right: Whether each is right ``(images,)``.
    """
    # A bin is open below and closed above, as in the paper that the report names.
    places = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(np.int64) - 1, 0, CALIBRATION_BINS - 1)
    return [
        ConfidenceBin(
            images=int(own.sum()), confidence=float(confidence[own].mean()), accuracy=float(right[own].mean())
        )
        for own in (places == place for place in range(CALIBRATION_BINS))
        if own.any()
    ]


def calibration_error(bins: Sequence[ConfidenceBin]) -> float | None:
    """Return the expected calibration error, 0–1, or ``None`` without images."""
    images = sum(one.images for one in bins)
    if not images:
        return None
    return sum(one.images * abs(one.confidence - one.accuracy) for one in bins) / images
