"""Bodies on their way into and out of a store: counted, hashed, bounded and written whole."""

import hashlib
import io
import os
import secrets
from pathlib import Path
from typing import BinaryIO

from core.crash_points import reach
from core.errors import IntegrityError, TooLargeError, UnreadableError
from core.storage.store import StoredObject

CHUNK_BYTES = 2**20


class MeteredBody:
    """A body that is counted and hashed while it is read, and that fails where it is not what was announced.

    Attributes:
        size_bytes: Bytes read so far.
        failure: What went wrong while reading, so that a store can tell a bad body from trouble of its own.
    """

    def __init__(self, source: BinaryIO, *, size_bytes: int | None = None, max_bytes: int | None = None) -> None:
        if max_bytes is not None and size_bytes is not None and size_bytes > max_bytes:
            raise _too_large(max_bytes)
        self.size_bytes = 0
        self.failure: Exception | None = None
        self._source = source
        self._expected_bytes = size_bytes
        self._max_bytes = max_bytes
        self._hash = hashlib.sha256()
        self._ended = False

    def read(self, size: int = -1) -> bytes:
        """Return exactly ``size`` bytes, fewer only where the body ends; a negative size means all of it."""
        try:
            return self._gather(size)
        except Exception as error:
            self.failure = error
            raise

    def stored_as(self, key: str) -> StoredObject:
        """Return what was read, as the object under ``key``."""
        return StoredObject(key, self.size_bytes, self._hash.hexdigest())

    def _gather(self, size: int) -> bytes:
        pieces: list[bytes] = []
        wanted = size
        while wanted != 0 and not self._ended:
            piece = self._source.read(CHUNK_BYTES if wanted < 0 else min(wanted, CHUNK_BYTES))
            self._account(piece)
            pieces.append(piece)
            wanted -= len(piece) if wanted > 0 else 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _account(self, piece: bytes) -> None:
        self.size_bytes += len(piece)
        self._hash.update(piece)
        self._ended = not piece
        if self._max_bytes is not None and self.size_bytes > self._max_bytes:
            raise _too_large(self._max_bytes)
        if self._expected_bytes is not None:
            self._compare(self._expected_bytes)

    def _compare(self, expected_bytes: int) -> None:
        if self.size_bytes > expected_bytes:
            raise UnreadableError(f"The body is longer than its {expected_bytes} bytes.", code="body_too_long")
        if self._ended and self.size_bytes < expected_bytes:
            raise UnreadableError(
                f"The body ended after {self.size_bytes} of {expected_bytes} bytes.", code="body_cut_short"
            )


class Window(io.RawIOBase):
    """At most ``length`` bytes of ``source``, from where it stands; closing it closes the source."""

    def __init__(self, source: BinaryIO, length: int) -> None:
        self._source = source
        self._left = length

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # the base takes any buffer
        """Fill ``buffer`` as far as the window goes."""
        piece = self._source.read(min(len(buffer), self._left))
        buffer[: len(piece)] = piece
        self._left -= len(piece)
        return len(piece)

    def close(self) -> None:
        """Close the source too."""
        self._source.close()
        super().close()


def save(source: BinaryIO, path: Path, *, sha256: str | None = None, size_bytes: int | None = None) -> None:
    """Write ``source`` to the file ``path``: synced and whole, or not at all.

    Raises:
        IntegrityError: The bytes do not have the hash ``sha256``, or are not ``size_bytes``.
        OSError: The file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    body = MeteredBody(source, size_bytes=size_bytes)
    try:
        _write_or_refuse(body, temporary)
        reach("w.download_mid")
        if sha256 is not None and body.stored_as("").sha256 != sha256:
            raise IntegrityError("The stored bytes are not the bytes that were recorded.")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def _write_or_refuse(body: MeteredBody, path: Path) -> None:
    try:
        write_synced(body, path)
    except UnreadableError as error:
        raise IntegrityError("The stored bytes are not as many as were recorded.") from error


def write_synced(body: MeteredBody, path: Path) -> None:
    """Write a body to a new file and wait until it is on the disk."""
    with path.open("xb") as file:
        while chunk := body.read(CHUNK_BYTES):
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until a folder's entries are on the disk: a rename lasts only after that."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _too_large(max_bytes: int) -> TooLargeError:
    return TooLargeError(f"The body is longer than the {max_bytes} bytes that are allowed.")
