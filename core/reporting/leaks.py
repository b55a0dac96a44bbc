"""Test images that a model has seen in training: their accuracy says nothing of images to come."""

import hashlib
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from core.datasets.packs import Pack

_DIGEST_BYTES = 16
_TOLD_EVERY = 1024


def find_leaks(
    pack: Pack, positions: npt.NDArray[np.int64], *, on_progress: Callable[[], None] = lambda: None
) -> npt.NDArray[np.bool_]:
    """Return for each of ``positions`` whether an image of the training split has the same pixels.

    It is what the leak check of ingest finds, asked of the images in the model's form: two files that differ only in
    what resizing loses are the same to a model. All pixels are read: ``on_progress`` is called now and then meanwhile.
    """
    wanted: dict[bytes, list[int]] = {}
    for place, digest in enumerate(_digest(pack, positions)):
        wanted.setdefault(digest, []).append(place)
    leaked = np.zeros(len(positions), np.bool_)
    if wanted:
        for place, digest in enumerate(_digest(pack, pack.indices("train"))):
            if place % _TOLD_EVERY == 0:
                on_progress()
            if digest in wanted:
                leaked[wanted[digest]] = True
    return leaked


def _digest(pack: Pack, positions: npt.NDArray[np.int64]) -> Iterator[bytes]:
    pixels = pack.pixels
    return (hashlib.blake2b(pixels[place], digest_size=_DIGEST_BYTES).digest() for place in positions.tolist())
