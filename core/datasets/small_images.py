"""Many small images at once: the pixels of `core.datasets.images`, bit for bit, at a third of the cost of each.

Opening an image takes Pillow longer than decoding its few hundred pixels. So the packed rows of many equal PNGs are
laid under one another and decoded as one tall image (an empty row between two: PNG's filters look one row up, and
see nothing above the first). Resizing, too, is done for all at once: Pillow's filter works on rows and columns
separately, so one call widens all rows of all images, and one more all columns.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from core.datasets.images import read_plain_png

MOST_PIXELS = 64 * 64
_CHANNELS = {"L": 1, "RGB": 3}
_FILTERS = 5


@dataclass(frozen=True)
class PackedRows:
    """A small PNG without its packing: mode ``L`` or ``RGB``, width and height, and its filtered rows."""

    mode: str
    size: tuple[int, int]
    rows: bytes


def unpack_png(data: bytes) -> PackedRows | None:
    """Return the rows of a small, plain PNG; ``None`` for everything else, and for what is broken."""
    head = read_plain_png(data)
    if head is None:
        return None
    mode, (width, height), content, _ = head
    row_bytes = 1 + width * _CHANNELS[mode]
    if not 0 < width * height <= MOST_PIXELS:
        return None
    inflater = zlib.decompressobj()
    try:
        rows = inflater.decompress(content, height * row_bytes + 1)
    except zlib.error:
        return None
    is_whole = len(rows) == height * row_bytes and inflater.eof and max(rows[::row_bytes]) < _FILTERS
    return PackedRows(mode, (width, height), rows) if is_whole else None


def decode_rows(images: Sequence[PackedRows]) -> npt.NDArray[np.uint8]:
    """Decode images of one mode and size.

    Returns:
        uint8 ``(n, height, width, channels)``.
    """
    mode, (width, height) = images[0].mode, images[0].size
    empty_row = bytes(1 + width * _CHANNELS[mode])
    rows = empty_row.join(image.rows for image in images) + empty_row
    tall_size = (width, len(images) * (height + 1))
    tall = Image.frombytes(mode, tall_size, zlib.compress(rows, 0), "zip", mode)
    pixels = np.asarray(tall).reshape(len(images), height + 1, width, _CHANNELS[mode])
    return np.ascontiguousarray(pixels[:, :height])


def resize_many(pixels: npt.NDArray[np.uint8], image_size: int) -> npt.NDArray[np.uint8]:
    """Resize images ``(n, height, width, channels)`` to squares as `core.datasets.images.to_array` does.

    Returns:
        uint8 ``(n, image_size, image_size, channels)``.
    """
    count, height, width, channels = pixels.shape
    if width != image_size:
        pixels = _resize(pixels.reshape(count * height, width, channels), (image_size, count * height))
        pixels = pixels.reshape(count, height, image_size, channels)
    if height != image_size:
        beside = pixels.transpose(1, 0, 2, 3).reshape(height, count * image_size, channels)
        pixels = _resize(beside, (count * image_size, image_size))
        pixels = pixels.reshape(image_size, count, image_size, channels).transpose(1, 0, 2, 3)
    return np.ascontiguousarray(pixels)


def drop_colors(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Bring images ``(n, height, width, 3)`` into grayscale, ``(n, height, width, 1)``."""
    count, height, width, _ = pixels.shape
    gray = Image.fromarray(pixels.reshape(count * height, width, 3)).convert("L")
    return np.asarray(gray).reshape(count, height, width, 1)


def _resize(pixels: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))
