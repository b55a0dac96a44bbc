"""Small packs that can be learnt in a few steps, and models exported from them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from core.datasets.packs import PackWriter

CLASSES = ("ant", "bee", "cat")


def draw_images(labels, *, size, channels, seed):
    """Noise with one bright stripe whose place is the label."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 80, (len(labels), size, size, channels), dtype=np.uint8)
    for index, label in enumerate(labels):
        pixels[index, 8 * label : 8 * label + 8] += 150
    return pixels


@pytest.fixture(scope="session")
def make_pack(tmp_path_factory) -> Callable[..., Path]:
    """Return a function that writes a pack; `splits` maps a split's number (0, 1, 2) to images of each class."""

    def make(*, splits=None, classes=CLASSES, size=28, color_mode="grayscale", seed=0) -> Path:
        path = tmp_path_factory.mktemp("pack") / "pack"
        channels = 1 if color_mode == "grayscale" else 3
        labels, parts = [], []
        for split, counts in (splits or {0: (20, 20, 20), 2: (8, 8, 8)}).items():
            for label, count in enumerate(counts):
                labels += [label] * count
                parts += [split] * count
        writer = PackWriter(path, image_size=size, color_mode=color_mode)
        writer.append(draw_images(labels, size=size, channels=channels, seed=seed))
        writer.finish(
            labels=np.array(labels, np.int32),
            splits=np.array(parts, np.uint8),
            paths=[
                f"{part}/{classes[label]}/{index}.png"
                for index, (label, part) in enumerate(zip(labels, parts, strict=True))
            ],
            classes=classes,
        )
        return path

    return make


@pytest.fixture(scope="session")
def pack_path(make_pack) -> Path:
    return make_pack()
