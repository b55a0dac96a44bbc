"""Golden images: a few images with the trained net's own answers, by which every export is checked."""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from core.datasets.packs import Pack

GOLDEN = "golden.npz"
"""Name of the file that `Golden.save` writes beside the other results."""
MOST_IMAGES = 32


@dataclass(frozen=True)
class Golden:
    """Images and what the net answers to them.

    Attributes:
        pixels: uint8 ``(images, size, size, channels)``.
        logits: float32 ``(images, classes)``.
        labels: Index of each image's class.
        paths: Of each image in the dataset's archive.
    """

    pixels: npt.NDArray[np.uint8]
    logits: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int32]
    paths: tuple[str, ...]

    @classmethod
    def take(cls, pack: Pack, positions: npt.NDArray[np.int64], logits: npt.NDArray[np.float32]) -> Self:
        """Return the images at ``positions`` of a pack, with their logits."""
        return cls(
            pixels=np.take(pack.pixels, positions, axis=0),
            logits=logits,
            labels=np.asarray(pack.labels[positions]),
            paths=tuple(pack.image_path(int(position)) for position in positions),
        )

    def save(self, path: Path) -> None:
        """Write them to a file for `load`."""
        np.savez(path, pixels=self.pixels, logits=self.logits, labels=self.labels, paths=np.array(self.paths, str))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read back what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            return cls(file["pixels"], file["logits"], file["labels"], tuple(file["paths"].tolist()))

    @property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """Return the softmax of the logits ``(images, classes)``."""
        answers = self.logits.astype(np.float64)
        shares = np.exp(answers - answers.max(axis=1, keepdims=True))
        probabilities: npt.NDArray[np.float64] = shares / shares.sum(axis=1, keepdims=True)
        return probabilities

    def files(self, classes: tuple[str, ...]) -> dict[str, bytes]:
        """Return them as files by name: a PNG for each image, and ``expected.json`` with every answer."""
        names = [f"{number:02}.png" for number in range(len(self.pixels))]
        pictures = {name: encode_png(image) for name, image in zip(names, self.pixels, strict=True)}
        told = [self._tell(number, name, classes) for number, name in enumerate(names)]
        return {**pictures, "expected.json": (json.dumps(told, indent=1, ensure_ascii=False) + "\n").encode()}

    def _tell(self, number: int, name: str, classes: tuple[str, ...]) -> dict[str, Any]:
        return {
            "file": name,
            "path": self.paths[number],
            "true": classes[self.labels[number]],
            "class": classes[int(self.logits[number].argmax())],
            "logits": [float(value) for value in self.logits[number]],
            "probabilities": self.probabilities[number].tolist(),
        }


def choose_golden(pack: Pack, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return at most `MOST_IMAGES` of ``positions``, ascending, from as many classes as there are, in turn."""
    labels = pack.labels[positions]
    turn = np.empty(len(positions), np.int64)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        turn[own] = np.arange(len(own))
    order = np.lexsort((labels, turn))[:MOST_IMAGES]
    return np.sort(positions[order])


def encode_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Return an image, uint8 ``(height, width, 1 or 3)``, as the bytes of a PNG."""
    stream = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(stream, "PNG")
    return stream.getvalue()
