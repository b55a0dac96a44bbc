"""The object store: one protocol over a folder, S3 and memory."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol


@dataclass(frozen=True)
class StoredObject:
    """What a write stored: the key, its size, and the SHA-256 in hexadecimal of the bytes that were read."""

    key: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class ObjectStat:
    """What a store knows of an object; ``modified_at`` is in UTC, by the store's clock."""

    key: str
    size_bytes: int
    modified_at: datetime


class ObjectStore(Protocol):
    """Bytes under keys, written whole or not at all.

    Keys come from `core.storage.keys`; a key that could not come from there is refused with `InvalidError`
    (``invalid_key``). No key lies under another. A prefix names whole parts: ``jobs/1`` covers ``jobs/1/a``,
    not ``jobs/12/a`` and not ``jobs/1`` itself. Every method raises `StoreUnavailableError` where the store
    is down, too slow, full or refuses.
    """

    def put(
        self, key: str, source: BinaryIO, *, size_bytes: int | None = None, max_bytes: int | None = None
    ) -> StoredObject:
        """Store what ``source`` holds, in place of what was there; memory stays flat whatever its size.

        On any failure nothing is stored and what was there stays. (One doubt cannot be taken away: where the
        store's last answer is lost, the object may be there although this raised.)

        Args:
            key: Where to store it.
            source: Read to its end from where it stands; whatever its ``read`` raises comes through as it is.
            size_bytes: How long the body must be, where that is known.
            max_bytes: How long it may be.

        Raises:
            UnreadableError: The body ended before ``size_bytes`` (``body_cut_short``) or went on after it
                (``body_too_long``).
            TooLargeError: The body is longer than ``max_bytes``.
        """

    def put_file(self, key: str, path: Path) -> StoredObject:
        """Store the file at ``path``; its own `OSError` comes through where it cannot be read."""

    def open(self, key: str, *, offset: int = 0, length: int | None = None) -> AbstractContextManager[BinaryIO]:
        """Open an object for reading, from byte ``offset`` on and for at most ``length`` bytes.

        A range that begins past the end is empty, one that ends past it is cut there.

        Raises:
            ObjectNotFoundError: Nothing is stored under the key.
            ValueError: ``offset`` or ``length`` is negative.
        """

    def fetch(self, key: str, path: Path, *, sha256: str | None = None, size_bytes: int | None = None) -> None:
        """Copy an object to the file ``path``, which appears whole and synced to disk, or not at all.

        Raises:
            ObjectNotFoundError: Nothing is stored under the key.
            IntegrityError: The bytes do not have the hash ``sha256`` (hexadecimal), or are not ``size_bytes``; of more
                than these no byte is written.
            OSError: The file cannot be written: this machine's disk is full, for example.
        """

    def stat(self, key: str) -> ObjectStat:
        """Return size and time of an object.

        Raises:
            ObjectNotFoundError: Nothing is stored under the key.
        """

    def delete(self, key: str) -> None:
        """Delete an object; that there is none is no error."""

    def delete_prefix(self, prefix: str) -> None:
        """Delete every object under ``prefix``; that there is none is no error.

        Raises:
            ValueError: The prefix is empty: nobody means to delete the whole store.
        """

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        """Yield the objects under ``prefix``, in the order of their keys, without holding them all."""

    def local_path(self, key: str) -> Path | None:
        """Return the file that holds an object where the store is a folder of this machine, to read only.

        ``None`` where the store is elsewhere, or holds nothing under the key.
        """

    def check(self) -> None:
        """Make the store ready where that is possible (its folder, its bucket) and see that it can be used.

        Raises:
            StoreUnavailableError: It cannot, with the reason; after about five seconds where it is silent.
        """

    def clear_abandoned(self) -> None:
        """Delete what writers that were killed left behind, days ago: parts of objects that never came to be."""

    def close(self) -> None:
        """Give back the connections that are held; the store can be used again."""


def check_range(offset: int, length: int | None) -> None:
    """Raise `ValueError` where a range is negative."""
    if offset < 0 or (length is not None and length < 0):
        raise ValueError(f"offset {offset} and length {length} must not be negative")
