"""A store in memory, for tests."""

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from core import clock
from core.errors import ObjectNotFoundError
from core.storage.bodies import MeteredBody, save
from core.storage.keys import check_key, folder_of
from core.storage.store import ObjectStat, StoredObject, check_range


class MemoryStore:
    """Keeps objects in this process. Not for production: what it holds ends with the process."""

    def __init__(self) -> None:
        self._objects: dict[str, tuple[bytes, datetime]] = {}
        self._lock = threading.Lock()

    def put(
        self, key: str, source: BinaryIO, *, size_bytes: int | None = None, max_bytes: int | None = None
    ) -> StoredObject:
        """Store a body; see `ObjectStore.put`."""
        check_key(key)
        body = MeteredBody(source, size_bytes=size_bytes, max_bytes=max_bytes)
        content = body.read()
        with self._lock:
            self._objects[key] = (content, clock.now())
        return body.stored_as(key)

    def put_file(self, key: str, path: Path) -> StoredObject:
        """Store a file; see `ObjectStore.put_file`."""
        with path.open("rb") as file:
            return self.put(key, file, size_bytes=path.stat().st_size)

    @contextmanager
    def open(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[BinaryIO]:
        """Open an object; see `ObjectStore.open`."""
        check_range(offset, length)
        content, _ = self._get(key)
        with io.BytesIO(content[offset : None if length is None else offset + length]) as file:
            yield file

    def fetch(self, key: str, path: Path, *, sha256: str | None = None, size_bytes: int | None = None) -> None:
        """Copy an object to a file; see `ObjectStore.fetch`."""
        with self.open(key) as source:
            save(source, path, sha256=sha256, size_bytes=size_bytes)

    def stat(self, key: str) -> ObjectStat:
        """Return size and time of an object; see `ObjectStore.stat`."""
        content, modified_at = self._get(key)
        return ObjectStat(key, len(content), modified_at)

    def delete(self, key: str) -> None:
        """Delete an object; see `ObjectStore.delete`."""
        check_key(key)
        with self._lock:
            self._objects.pop(key, None)

    def delete_prefix(self, prefix: str) -> None:
        """Delete what lies under a prefix; see `ObjectStore.delete_prefix`."""
        folder = folder_of(prefix)
        if not folder:
            raise ValueError("the prefix is empty")
        with self._lock:
            self._objects = {key: held for key, held in self._objects.items() if not key.startswith(folder)}

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        """Yield what lies under a prefix; see `ObjectStore.list`."""
        folder = folder_of(prefix)
        with self._lock:
            found = sorted((key, held) for key, held in self._objects.items() if key.startswith(folder))
        for key, (content, modified_at) in found:
            yield ObjectStat(key, len(content), modified_at)

    def local_path(self, key: str) -> Path | None:
        """Return ``None``: no file holds it; see `ObjectStore.local_path`."""
        check_key(key)
        return None

    def check(self) -> None:
        """Return: memory is always ready."""

    def clear_abandoned(self) -> None:
        """Return: nothing is written in parts."""

    def close(self) -> None:
        """Return: no connection is held."""

    def _get(self, key: str) -> tuple[bytes, datetime]:
        check_key(key)
        with self._lock:
            held = self._objects.get(key)
        if held is None:
            raise ObjectNotFoundError("Nothing is stored under this key.")
        return held
