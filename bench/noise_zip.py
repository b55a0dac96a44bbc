"""Makes a ZIP of small PNG files of noise, as many as are wanted, at some 30,000 a second."""

import binascii
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CLASSES = 10
_TESTED = 10
"""One image of so many is for testing."""
_DRAWN = 10_000


def write_noise_zip(target: Path, images: int, *, side: int) -> Path:
    """Write ``train/<class>/<number>.png`` and ``test/…``, 8-bit grayscale, no two alike, and return ``target``."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for number, png in enumerate(_draw(images, side)):
            split = "test" if number % _TESTED == 0 else "train"
            # The class moves on by one with each round of the splits: every class has images in both.
            label = (number // _TESTED) % _CLASSES
            archive.writestr(zipfile.ZipInfo(f"{split}/{label}/{number:07}.png"), png)
    return target


def _draw(images: int, side: int) -> Iterator[bytes]:
    """Yield PNG files that are not packed: noise could not be."""
    generator = np.random.default_rng(0)
    size = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    head, tail = _SIGNATURE + _chunk(b"IHDR", size), _chunk(b"IEND", b"")
    for start in range(0, images, _DRAWN):
        # Each row begins with the number of its filter: none.
        rows = np.zeros((min(_DRAWN, images - start), side, side + 1), np.uint8)
        rows[:, :, 1:] = generator.integers(0, 256, (len(rows), side, side), np.uint8)
        for pixels in rows:
            yield head + _chunk(b"IDAT", zlib.compress(pixels.tobytes(), 0)) + tail


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", binascii.crc32(kind + body))
