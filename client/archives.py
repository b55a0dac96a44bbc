"""What is uploaded: an archive as it is, or a folder of pictures as a ZIP made on the way."""

import os
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from client.errors import InputError
from client.transport import readable

# These are packed already; packing them again costs time and wins nothing.
_PACKED = frozenset({".png", ".jpg", ".jpeg", ".gif", ".webp"})
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Archive:
    """An archive that is open for reading, with the name that a dataset takes from it."""

    file: IO[bytes]
    name: str
    size_bytes: int
    is_zip: bool


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open an archive, or a ZIP of a folder in a temporary file that goes with the context.

    The same folder gives the same bytes each time, so that the platform knows it again.

    Raises:
        InputError: There is no such file or folder, it cannot be read, or the folder is empty.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(_zipped(path) if path.is_dir() else path.open("rb"))
            size_bytes = file.seek(0, os.SEEK_END)
            is_zip = zipfile.is_zipfile(file)
            file.seek(0)
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
        yield Archive(file, readable(path.resolve().name), size_bytes, is_zip)


@contextmanager
def _zipped(folder: Path) -> Iterator[IO[bytes]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        raise InputError(f"{folder} has no files in it.")
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w") as archive:
            for path in files:
                _add(archive, path, readable(path.relative_to(folder).as_posix()))
        yield file


def _add(archive: zipfile.ZipFile, path: Path, name: str) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = zipfile.ZIP_STORED if path.suffix.lower() in _PACKED else zipfile.ZIP_DEFLATED
    entry.file_size = path.stat().st_size
    with path.open("rb") as source, archive.open(entry, "w") as target:
        while piece := source.read(2**18):
            target.write(piece)
