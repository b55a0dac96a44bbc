"""Small images and archives made on the fly; the ZIP writer writes whatever lies it is asked for."""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.datasets.archives import Archive, open_archive
from core.datasets.limits import ArchiveLimits


@dataclass
class Entry:
    """An entry of a ZIP; every number that is set overrides what would be true."""

    name: str | bytes
    content: bytes = b"x"
    method: int = 0
    flags: int = 0
    local_flags: int | None = None
    local_name: str | bytes | None = None
    local_method: int | None = None
    local_sizes: tuple[int, int] | None = None
    data: bytes | None = None
    size: int | None = None
    packed: int | None = None
    checksum: int | None = None
    start: int | None = None
    attributes: int = 0
    extra: bytes = b""
    disk: int = 0


@dataclass
class ZipWriter:
    """Writes a ZIP byte by byte."""

    entries: list[Entry] = field(default_factory=list)
    before: bytes = b""
    after: bytes = b""
    comment: bytes = b""
    count: int | None = None
    end_entries: int | None = None
    end_start: int | None = None
    end_size: int | None = None
    with_zip64: bool = False
    zip64_entries: int | None = None
    zip64_place: int | None = None

    def write(self) -> bytes:
        out = bytearray(self.before)
        records = []
        for entry in self.entries:
            records.append(self._central(entry, len(out)))
            out += self._local(entry)
        start, directory = len(out), b"".join(records)
        out += directory
        count = len(self.entries) if self.count is None else self.count
        if self.with_zip64:
            place = len(out) if self.zip64_place is None else self.zip64_place
            entries = count if self.zip64_entries is None else self.zip64_entries
            out += struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, entries, entries, len(directory), start)
            out += struct.pack("<4sLQL", b"PK\6\7", 0, place, 1)
        given = count if self.end_entries is None else self.end_entries
        size = len(directory) if self.end_size is None else self.end_size
        out += struct.pack(
            "<4s4H2LH",
            b"PK\5\6",
            0,
            0,
            given,
            given,
            size,
            start if self.end_start is None else self.end_start,
            len(self.comment),
        )
        return bytes(out + self.comment + self.after)

    def _data(self, entry: Entry) -> bytes:
        if entry.data is not None:
            return entry.data
        if entry.method != 8:
            return entry.content
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        return packer.compress(entry.content) + packer.flush()

    def _numbers(self, entry: Entry) -> tuple[int, int, int]:
        data = self._data(entry)
        return (
            zlib.crc32(entry.content) if entry.checksum is None else entry.checksum,
            len(data) if entry.packed is None else entry.packed,
            len(entry.content) if entry.size is None else entry.size,
        )

    def _local(self, entry: Entry) -> bytes:
        name = _encode(entry.name if entry.local_name is None else entry.local_name)
        flags = entry.flags if entry.local_flags is None else entry.local_flags
        method = entry.method if entry.local_method is None else entry.local_method
        checksum, packed, size = self._numbers(entry)
        if entry.local_sizes is not None:
            packed, size = entry.local_sizes
        head = struct.pack("<4s5H3L2H", b"PK\3\4", 20, flags, method, 0, 0, checksum, packed, size, len(name), 0)
        return head + name + self._data(entry)

    def _central(self, entry: Entry, start: int) -> bytes:
        name = _encode(entry.name)
        start = start if entry.start is None else entry.start
        return (
            struct.pack(
                "<4s6H3L5H2L",
                b"PK\1\2",
                3 << 8 | 20,
                20,
                entry.flags,
                entry.method,
                0,
                0,
                *self._numbers(entry),
                len(name),
                len(entry.extra),
                0,
                entry.disk,
                0,
                entry.attributes,
                start,
            )
            + name
            + entry.extra
        )


def _encode(name: str | bytes) -> bytes:
    return name if isinstance(name, bytes) else name.encode()


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
