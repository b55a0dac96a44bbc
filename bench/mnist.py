"""MNIST in the forms that the sides of a comparison take: a ZIP of PNGs, and torchvision's folder."""

import gzip
import os
import shutil
import sys
from pathlib import Path

from bench.mnist_zip import write_zip

_HELD_OUT = 0.1
"""What the product holds out for validation by default."""


def find_folder() -> Path:
    """Return the folder of MNIST's four files; ends the program where ``LENET_TEST_DATA`` does not lead to it."""
    folder = Path(os.environ.get("LENET_TEST_DATA", "")) / "mnist"
    if not folder.joinpath("train-images-idx3-ubyte.gz").exists():
        sys.exit("LENET_TEST_DATA must name the folder that holds mnist/train-images-idx3-ubyte.gz and its kin.")
    return folder


def make_archive(target: Path, *, limit: int | None = None) -> Path:
    """Write a ZIP of PNG files, at most ``limit`` of each split, and return its path."""
    write_zip(find_folder(), target, limit=limit)
    return target


def count_trained(limit: int) -> int:
    """Return how many images an epoch of a job has on an archive of at most ``limit`` images of each split."""
    return round(limit * (1 - _HELD_OUT))


def make_torchvision_root(root: Path) -> Path:
    """Unpack the four files to where ``torchvision.datasets.MNIST`` looks for them, and return ``root``."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for packed in find_folder().glob("*.gz"):
        with gzip.open(packed) as source, (raw / packed.stem).open("wb") as target:
            shutil.copyfileobj(source, target)
    return root
