"""Packs: a dataset decoded once for one image size and colour mode, in one file that processes map read-only.

The file is a safetensors file (any reader of that format opens it) with the tensors

=========== ======================= =========================================================
``pixels``  ``(n, size, size, c)``  uint8, row by row, ``c`` is 1 (grayscale) or 3 (RGB)
``filler``  ``(0 to 7,)``           uint8, so that what follows is aligned
``moments`` ``(2, c)``              float64, mean and deviation of the training split, in 0–1
``ends``    ``(n,)``                int64, where each image's path ends in ``paths``
``labels``  ``(n,)``                int32, index into ``classes``
``splits``  ``(n,)``                uint8, index into `core.domain.datasets.SPLITS`
``paths``   ``(bytes,)``            uint8, the paths in UTF-8, one after the other
=========== ======================= =========================================================

and, as JSON in the metadata, the class names and the colour mode. All that is known only once every pixel has been
seen stands behind the pixels, so that a pack is written, measured and hashed in one pass. Equal images in equal
order make equal bytes.
"""

import hashlib
import json
import math
import mmap
import os
import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from core.domain.datasets import SPLITS, ColorMode, Split
from core.errors import IntegrityError

CHANNELS: dict[ColorMode, int] = {"grayscale": 1, "rgb": 3}
FORMAT = "lenet-pack-2"
_ALIGNMENT = 64
_BLOCK_IMAGES = 1024
_TRAIN = SPLITS.index("train")
_CODES = {"U8": np.uint8, "I32": np.int32, "I64": np.int64, "F64": np.float64}
_NAMES = {np.dtype(kind): code for code, kind in _CODES.items()}


@dataclass(frozen=True)
class Pack:
    """An open pack. Its arrays are views of the mapped file: nothing is read before it is used.

    Attributes:
        pixels: uint8 ``(n, size, size, channels)``.
        labels: int32 ``(n,)``.
        splits: uint8 ``(n,)``, index into ``SPLITS``.
        classes: Class names in index order.
        color_mode: ``grayscale`` or ``rgb``.
        mean: Mean of the training split for each channel, in 0–1.
        deviation: Standard deviation likewise; at least 1/255, so that a blank dataset divides by no zero.
    """

    path: Path
    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int32]
    splits: npt.NDArray[np.uint8]
    classes: tuple[str, ...]
    color_mode: ColorMode
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    _ends: npt.NDArray[np.int64]
    _paths: npt.NDArray[np.uint8]

    @classmethod
    def open(cls, path: Path) -> Self:
        """Map the pack at ``path``.

        Raises:
            IntegrityError: The file is not a pack, or is cut short.
        """
        try:
            header, start = _read_header(path)
            metadata = header.pop("__metadata__")
            if metadata["format"] != FORMAT:
                raise IntegrityError("The pack is of another format.")
            with path.open("rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            arrays = {name: _view(mapped, start, entry) for name, entry in header.items()}
            about = json.loads(metadata["pack"])
            return cls(
                path=path,
                pixels=arrays["pixels"],
                labels=arrays["labels"],
                splits=arrays["splits"],
                classes=tuple(about["classes"]),
                color_mode=about["color_mode"],
                mean=tuple(arrays["moments"][0].tolist()),
                deviation=tuple(arrays["moments"][1].tolist()),
                _ends=arrays["ends"],
                _paths=arrays["paths"],
            )
        except (KeyError, ValueError, TypeError, struct.error) as error:
            raise IntegrityError("The pack cannot be read.") from error

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_size(self) -> int:
        """Return the side of each image in pixels."""
        return int(self.pixels.shape[1])

    @property
    def channels(self) -> int:
        """Return 1 for grayscale, 3 for RGB."""
        return int(self.pixels.shape[3])

    def indices(self, split: Split) -> npt.NDArray[np.int64]:
        """Return the positions of a split's images, ascending."""
        return np.flatnonzero(self.splits == SPLITS.index(split)).astype(np.int64)

    def image_path(self, position: int) -> str:
        """Return the path that the image at ``position`` has in the archive."""
        start = int(self._ends[position - 1]) if position else 0
        return bytes(self._paths[start : int(self._ends[position])]).decode()


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal: a pack's name, which tells its content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class PackWriter:
    """Writes a pack of images that come one by one: pixels go to disk as they come, the rest is known at the end."""

    def __init__(self, path: Path, *, image_size: int, color_mode: ColorMode) -> None:
        self.path = path
        self._shape = (image_size, image_size, CHANNELS[color_mode])
        self._color_mode = color_mode
        self._raw_path = path.with_name(path.name + ".pixels")
        self._raw = self._raw_path.open("wb")
        self._count = 0

    def append(self, pixels: npt.NDArray[np.uint8]) -> None:
        """Add images, uint8 ``(n, size, size, channels)``."""
        if pixels.shape[1:] != self._shape or pixels.dtype != np.uint8:
            raise ValueError(f"pixels are {pixels.dtype}{pixels.shape}, not uint8(n, {self._shape})")
        self._raw.write(np.ascontiguousarray(pixels).data)
        self._count += len(pixels)

    def finish(
        self,
        *,
        labels: npt.NDArray[np.int32],
        splits: npt.NDArray[np.uint8],
        paths: Sequence[str],
        classes: Sequence[str],
    ) -> str:
        """Write the pack and return its SHA-256 in hexadecimal.

        Every argument but ``classes`` has one item for each image, in the order in which they were added.
        """
        self._raw.close()
        if not len(labels) == len(splits) == len(paths) == self._count:
            raise ValueError("labels, splits and paths need one item for each image")
        digest = write_pack(
            self.path,
            self._iterate_blocks(),
            image_size=self._shape[0],
            color_mode=self._color_mode,
            labels=labels,
            splits=splits,
            paths=paths,
            classes=classes,
        )
        self._raw_path.unlink()
        return digest

    def _iterate_blocks(self) -> Iterator[npt.NDArray[np.uint8]]:
        with self._raw_path.open("rb") as file:
            while data := file.read(math.prod(self._shape) * _BLOCK_IMAGES):
                yield np.frombuffer(data, np.uint8).reshape(-1, *self._shape)


def write_pack(
    path: Path,
    blocks: Iterable[npt.NDArray[np.uint8]],
    *,
    image_size: int,
    color_mode: ColorMode,
    labels: npt.NDArray[np.int32],
    splits: npt.NDArray[np.uint8],
    paths: Iterable[str],
    classes: Sequence[str],
) -> str:
    """Write a pack from blocks of images and return its SHA-256 in hexadecimal.

    Args:
        path: Where the pack shall be; it appears there once it is whole.
        blocks: All images in order, uint8 ``(any, image_size, image_size, channels)``.
        image_size: Side of each image in pixels.
        color_mode: Tells the channels.
        labels: ``(n,)``, index into ``classes``.
        splits: ``(n,)``, index into ``SPLITS``.
        paths: The ``n`` paths in the archive.
        classes: Class names in index order.

    Raises:
        ValueError: The blocks have not ``n`` images.
    """
    shape = (len(labels), image_size, image_size, CHANNELS[color_mode])
    text, ends = _join_paths(paths)
    filler = np.zeros(-math.prod(shape) % 8, np.uint8)
    moments = _Moments(shape[3])
    small: dict[str, npt.NDArray[Any]] = {
        "filler": filler,
        "moments": np.zeros((2, shape[3])),
        "ends": ends,
        "labels": labels.astype(np.int32),
        "splits": splits.astype(np.uint8),
        "paths": text,
    }
    header = _make_header(shape, small, {"classes": list(classes), "color_mode": color_mode})
    temporary = path.with_name(path.name + ".part")
    count = 0
    with temporary.open("wb") as file, _Hashing() as digest:
        file.write(header)
        digest.add(header)
        for block in blocks:
            if block.shape[1:] != shape[1:]:
                raise ValueError(f"images of {block.shape[1:]} do not belong into a pack of {shape[1:]}")
            content = np.ascontiguousarray(block).data
            digest.add(content)
            file.write(content)
            is_own = splits[count : count + len(block)] == _TRAIN
            moments.add(block if is_own.all() else block[is_own])
            count += len(block)
        if not count == len(ends) == len(labels):
            raise ValueError(f"there are {count} images, {len(ends)} paths and {len(labels)} labels")
        small["moments"] = moments.compute()
        for values in small.values():
            file.write(values.tobytes())
            digest.add(values.tobytes())
    temporary.replace(path)
    return digest.hexdigest()


def _join_paths(paths: Iterable[str]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    text, ends = bytearray(), array("q")
    for path in paths:
        text += path.encode()
        ends.append(len(text))
    return np.frombuffer(text, np.uint8), np.array(ends, np.int64)


class _Hashing:
    """A SHA-256 that a thread computes beside what else is done with the bytes; it is one piece behind at most."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._thread = ThreadPoolExecutor(1)
        self._last: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    def add(self, content: bytes | memoryview) -> None:
        """Take the next piece; it must not change any more."""
        if self._last:
            self._last.result()
        self._last = self._thread.submit(self._digest.update, content)

    def hexdigest(self) -> str:
        """Return the digest of all pieces, once the context has ended."""
        return self._digest.hexdigest()


class _Moments:
    """Mean and deviation of each channel, from exact counts of the 256 levels."""

    def __init__(self, channels: int) -> None:
        self._counts = np.zeros((channels, 256), np.int64)

    def add(self, pixels: npt.NDArray[np.uint8]) -> None:
        """Count the levels of images ``(n, size, size, channels)``; Pillow counts ten times faster than NumPy."""
        if pixels.size:
            flat = pixels.reshape(-1, pixels.shape[2], *pixels.shape[3:])
            image = Image.fromarray(flat[..., 0] if pixels.shape[3] == 1 else flat)
            self._counts += np.array(image.histogram(), np.int64).reshape(-1, 256)

    def compute(self) -> npt.NDArray[np.float64]:
        """Return ``(2, channels)``: mean and deviation of levels in 0–1; the deviation is at least 1/255."""
        levels = np.arange(256) / 255
        total = np.maximum(self._counts.sum(axis=1), 1)
        mean = (self._counts * levels).sum(axis=1) / total
        variance = (self._counts * (levels - mean[:, None]) ** 2).sum(axis=1) / total
        return np.stack([mean, np.maximum(np.sqrt(variance), 1 / 255)])


def _make_header(shape: tuple[int, ...], small: dict[str, npt.NDArray[Any]], about: dict[str, Any]) -> bytes:
    """Return the length and header of a safetensors file, padded so that the pixels are aligned."""
    entries: dict[str, Any] = {"__metadata__": {"format": FORMAT, "pack": json.dumps(about)}}
    offset = 0
    for name, code, form in [
        ("pixels", "U8", shape),
        *((name, _NAMES[values.dtype], values.shape) for name, values in small.items()),
    ]:
        end = offset + math.prod(form) * np.dtype(_CODES[code]).itemsize
        entries[name] = {"dtype": code, "shape": list(form), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    return struct.pack("<Q", len(text)) + text


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > os.fstat(file.fileno()).st_size:
            raise ValueError("the header is longer than the file")
        return json.loads(file.read(length)), 8 + length


def _view(mapped: mmap.mmap, start: int, entry: dict[str, Any]) -> npt.NDArray[Any]:
    kind = np.dtype(_CODES[entry["dtype"]])
    begin, end = entry["data_offsets"]
    if end - begin != kind.itemsize * int(np.prod(entry["shape"], dtype=np.int64)) or start + end > len(mapped):
        raise ValueError("a tensor does not fit its place")
    count = (end - begin) // kind.itemsize
    return np.frombuffer(mapped, kind, count, start + begin).reshape(entry["shape"])
