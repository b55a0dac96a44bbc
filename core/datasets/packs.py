"""Packs: a dataset decoded once for one image size and colour mode, in one file that processes map read-only.

The file is a safetensors file (any reader of that format opens it) with the tensors

========== ======================= ==========================================================
``pixels`` ``(n, size, size, c)``  uint8, row by row, ``c`` is 1 (grayscale) or 3 (RGB)
``labels`` ``(n,)``                int32, index into ``classes``
``splits`` ``(n,)``                uint8, index into `core.domain.datasets.SPLITS`
``ends``   ``(n,)``                int64, where each image's path ends in ``paths``
``paths``  ``(bytes,)``            uint8, the paths in UTF-8, one after the other
========== ======================= ==========================================================

and, as JSON in the metadata, the class names, the colour mode and the training split's mean and deviation.
"""

import hashlib
import json
import mmap
import os
import shutil
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from core.domain.datasets import SPLITS, ColorMode, Split
from core.errors import IntegrityError

CHANNELS: dict[ColorMode, int] = {"grayscale": 1, "rgb": 3}
FORMAT = "lenet-pack-1"
_ALIGNMENT = 64
_CODES = {"U8": np.uint8, "I32": np.int32, "I64": np.int64}
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
                mean=tuple(about["mean"]),
                deviation=tuple(about["deviation"]),
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


class PackWriter:
    """Writes a pack in one pass: pixels go to disk as they come, the rest is known at the end."""

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
        encoded = [path.encode() for path in paths]
        pixels: npt.NDArray[np.uint8] = (
            np.memmap(self._raw_path, np.uint8, "r", shape=(self._count, *self._shape))
            if self._count
            else np.empty((0, *self._shape), np.uint8)
        )
        mean, deviation = _statistics(pixels, splits)
        small: dict[str, npt.NDArray[Any]] = {
            "labels": labels.astype(np.int32),
            "splits": splits.astype(np.uint8),
            "ends": np.cumsum([len(path) for path in encoded], dtype=np.int64),
            "paths": np.frombuffer(b"".join(encoded), np.uint8),
        }
        about = {"classes": list(classes), "color_mode": self._color_mode, "mean": mean, "deviation": deviation}
        digest = _write(self.path, {"pixels": pixels, **small}, about, raw=self._raw_path)
        self._raw_path.unlink()
        return digest


def _statistics(pixels: npt.NDArray[np.uint8], splits: npt.NDArray[np.uint8]) -> tuple[list[float], list[float]]:
    """Return mean and deviation of the training split's pixels for each channel, from exact integer sums."""
    channels = pixels.shape[3]
    histogram = np.zeros((channels, 256), np.int64)
    train = np.flatnonzero(splits == SPLITS.index("train"))
    for start in range(0, len(train), 4096):
        chunk = pixels[train[start : start + 4096]]
        for channel in range(channels):
            histogram[channel] += np.bincount(chunk[..., channel].ravel(), minlength=256)
    levels = np.arange(256) / 255
    total = np.maximum(histogram.sum(axis=1), 1)
    mean = (histogram * levels).sum(axis=1) / total
    variance = (histogram * (levels - mean[:, None]) ** 2).sum(axis=1) / total
    return mean.tolist(), np.maximum(np.sqrt(variance), 1 / 255).tolist()


def _write(path: Path, arrays: dict[str, npt.NDArray[Any]], about: dict[str, Any], *, raw: Path) -> str:
    """Write a safetensors file, ``pixels`` copied from the file ``raw``; sync it; return its SHA-256."""
    header: dict[str, Any] = {"__metadata__": {"format": FORMAT, "pack": json.dumps(about)}}
    offset = 0
    for name, array in arrays.items():
        header[name] = {
            "dtype": _NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    temporary = path.with_name(path.name + ".part")
    with temporary.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        with raw.open("rb") as source:
            shutil.copyfileobj(source, file, 2**20)
        for array in list(arrays.values())[1:]:
            file.write(array.tobytes())
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    return digest_of(path)


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal: what a pack is addressed by."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
