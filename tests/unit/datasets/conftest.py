"""Small images and archives made on the fly."""

import io
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forgery.zips import Entry, ZipWriter
from PIL import Image

from core.datasets.archives import Archive, open_archive
from core.datasets.limits import ArchiveLimits


@pytest.fixture
def entry() -> Callable[..., Entry]:
    return Entry


@pytest.fixture
def zip_bytes() -> Callable[..., bytes]:
    """Return a function of entries, and of the writer's fields, that writes a ZIP."""

    def write(*entries: Entry, **fields: Any) -> bytes:
        return ZipWriter(list(entries), **fields).write()

    return write


@pytest.fixture
def image_bytes() -> Callable[..., bytes]:
    """Return a function that makes an image file whose pixels follow from a seed."""

    def make(
        seed: int = 0, *, size: tuple[int, int] = (8, 8), mode: str = "L", image_format: str = "PNG", **options: Any
    ) -> bytes:
        channels = {"L": (), "RGB": (3,), "RGBA": (4,), "LA": (2,)}[mode]
        pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], *channels), np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, image_format, **options)
        return buffer.getvalue()

    return make


@pytest.fixture
def make_zip(tmp_path: Path) -> Callable[[Iterable[tuple[str, bytes]]], Path]:
    """Return a function of names and contents that writes an honest ZIP by Python's own module."""

    def make(files: Iterable[tuple[str, bytes]]) -> Path:
        path = tmp_path / "dataset.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files:
                archive.writestr(name, content)
        return path

    return make


@pytest.fixture
def dataset_files(image_bytes: Callable[..., bytes]) -> Callable[..., list[tuple[str, bytes]]]:
    """Return a function that gives the files of a small, sound dataset."""

    def make(
        classes: Iterable[str] = ("cat", "dog"), *, train: int = 4, test: int = 2, **options: Any
    ) -> list[tuple[str, bytes]]:
        files, seed = [], 0
        for split, count in (("train", train), ("test", test)):
            for name in classes:
                for number in range(count):
                    seed += 1
                    files.append((f"{split}/{name}/{number}.png", image_bytes(seed, **options)))
        return files

    return make


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Archive]:
    """Return a function that opens an archive, given as bytes or path, and gives it back."""

    def open_it(content: bytes | Path, **limits: Any) -> Archive:
        path = content
        if isinstance(path, bytes):
            path = tmp_path / "archive"
            path.write_bytes(content)
        with open_archive(path, limits=ArchiveLimits(**limits), scratch=tmp_path, beat=lambda: None) as archive:
            return archive

    return open_it
