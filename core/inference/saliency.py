"""Which parts of an image an answer rests on: what it loses where each part is covered, without any gradient."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.inference.predictor import Predictor

# A fifth of the side hides a part of an object and never all of it; a third of that is as fine as the eye needs.
_PATCHES_PER_SIDE = 5
_STEPS_PER_PATCH = 3


@dataclass(frozen=True)
class Saliency:
    """What an answer rests on.

    Attributes:
        class_index: The class that is looked at.
        confidence: Its probability for the whole image, 0–1.
        heat: float64 ``(size, size)``: by how much covering each pixel lowers that probability, −1 to 1, the mean over
            all patches that cover it. Where it is negative the pixel speaks for another class.
        patch_size: Side in pixels of what covers.
        stride: By how many pixels it moves.
    """

    class_index: int
    confidence: float
    heat: npt.NDArray[np.float64]
    patch_size: int
    stride: int


def measure_saliency(predictor: Predictor, image: npt.NDArray[np.uint8], *, class_index: int | None = None) -> Saliency:
    """Cover one part of the image after another by its mean colour, and see what the probability of a class loses.

    Zeiler and Fergus: Visualizing and understanding convolutional networks (2014), section 4.2.

    Args:
        predictor: The model.
        image: uint8 ``(size, size, channels)``, as the model takes it.
        class_index: The class to look at; ``None``: the most probable one.
    """
    size = image.shape[0]
    patch = max(1, round(size / _PATCHES_PER_SIDE))
    stride = max(1, patch // _STEPS_PER_PATCH)
    starts = range(-(patch // 2), size - patch // 2, stride)
    places = [(top, left) for top in starts for left in starts]
    whole = predictor.predict(image[None])[0]
    index = int(whole.argmax()) if class_index is None else class_index
    answers = predictor.predict(_cover(image, places, patch))[:, index]
    heat, counts = np.zeros((size, size)), np.zeros((size, size))
    for place, drop in zip(places, (whole[index] - answers).tolist(), strict=True):
        heat[_span(place, patch)] += drop
        counts[_span(place, patch)] += 1
    return Saliency(index, float(whole[index]), heat / counts, patch, stride)


def _cover(image: npt.NDArray[np.uint8], places: list[tuple[int, int]], patch: int) -> npt.NDArray[np.uint8]:
    mean = image.mean(axis=(0, 1)).round().astype(np.uint8)
    covered = np.repeat(image[None], len(places), axis=0)
    for number, place in enumerate(places):
        covered[number][_span(place, patch)] = mean
    return covered


def _span(place: tuple[int, int], patch: int) -> tuple[slice, slice]:
    """Return the rows and columns of a patch, of which the first ones may lie beyond the border."""
    top, left = place
    return slice(max(0, top), top + patch), slice(max(0, left), left + patch)
