"""Real handwritten digits as an archive: the 1,797 images of 8×8 pixels that scikit-learn brings with it."""

import io
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from sklearn.datasets import load_digits

# Every fifth image of a digit is for testing; they stand in the order of their writers, so that all write in both.
TEST_EVERY = 5
_BRIGHTEST = 16
_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_archive(target: Path) -> Path:
    """Write a ZIP of PNG files in ``train/<digit>/`` and ``test/<digit>/``, always the same, and return its path."""
    with zipfile.ZipFile(target, "w") as archive:
        for name, pixels in list_digits():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), to_png(pixels))
    return target


def list_digits() -> Iterator[tuple[str, npt.NDArray[np.uint8]]]:
    """Yield each digit's path in the archive and its pixels: uint8 ``(8, 8)``, ink bright on black."""
    digits = load_digits()
    # The set counts the inked pixels of each 4×4 block of the scan: 0–16.
    brightness = (digits.images * 255 / _BRIGHTEST).round().astype(np.uint8)
    seen: Counter[int] = Counter()
    for pixels, digit in zip(brightness, digits.target.tolist(), strict=True):
        seen[digit] += 1
        split = "test" if seen[digit] % TEST_EVERY == 0 else "train"
        yield f"{split}/{digit}/{seen[digit]:03}.png", pixels


def to_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Return grey pixels ``(height, width)`` as the bytes of a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()
