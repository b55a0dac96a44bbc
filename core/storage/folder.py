"""A store in a folder of this machine: the embedded mode's."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO, cast

from core import clock
from core.errors import ObjectNotFoundError, StoreUnavailableError
from core.storage.bodies import MeteredBody, Window, save, sync_folder, write_synced
from core.storage.keys import check_key, folder_of, is_part
from core.storage.store import ObjectStat, StoredObject, check_range

_ABANDONED_AFTER = timedelta(days=1)


class FolderStore:
    """Keeps each object in a file, ``root`` joined with the key.

    A file is written under ``root/.partial`` (no part of a key begins with a dot, so it is never listed),
    synced, and renamed into place: a reader sees the old bytes or the new ones, also after a power cut.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._partial = root / ".partial"

    def put(
        self, key: str, source: BinaryIO, *, size_bytes: int | None = None, max_bytes: int | None = None
    ) -> StoredObject:
        """Store a body; see `ObjectStore.put`."""
        target = self._path(key)
        body = MeteredBody(source, size_bytes=size_bytes, max_bytes=max_bytes)
        with _writing(body), self._temporary() as temporary:
            write_synced(body, temporary)
            _publish(temporary, target)
        return body.stored_as(key)

    def put_file(self, key: str, path: Path) -> StoredObject:
        """Store a file; see `ObjectStore.put_file`."""
        with path.open("rb") as file:
            return self.put(key, file, size_bytes=path.stat().st_size)

    @contextmanager
    def open(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[BinaryIO]:
        """Open an object; see `ObjectStore.open`."""
        check_range(offset, length)
        path = self._path(key)
        with _reading():
            file = path.open("rb")
        with file:
            file.seek(offset)
            yield file if length is None else cast(BinaryIO, Window(file, length))

    def fetch(self, key: str, path: Path, *, sha256: str | None = None, size_bytes: int | None = None) -> None:
        """Copy an object to a file; see `ObjectStore.fetch`."""
        with self.open(key) as source:
            save(source, path, sha256=sha256, size_bytes=size_bytes)

    def stat(self, key: str) -> ObjectStat:
        """Return size and time of an object; see `ObjectStore.stat`."""
        path = self._path(key)
        with _reading():
            status = path.stat()
        if not S_ISREG(status.st_mode):
            raise _not_found()
        return _stat(key, status)

    def delete(self, key: str) -> None:
        """Delete an object; see `ObjectStore.delete`."""
        path = self._path(key)
        with suppress(ObjectNotFoundError), _reading():
            path.unlink(missing_ok=True)

    def delete_prefix(self, prefix: str) -> None:
        """Delete what lies under a prefix; see `ObjectStore.delete_prefix`."""
        folder = self._root / folder_of(prefix)
        if folder == self._root:
            raise ValueError("the prefix is empty")
        with suppress(ObjectNotFoundError), _reading():
            self._bury(folder)

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        """Yield what lies under a prefix; see `ObjectStore.list`."""
        folder = folder_of(prefix)
        yield from _walk(self._root / folder, folder)

    def local_path(self, key: str) -> Path | None:
        """Return the file that holds an object; see `ObjectStore.local_path`."""
        path = self._path(key)
        return path if path.is_file() else None

    def check(self) -> None:
        """Make the folder, write to it, and clear what a killed writer left; see `ObjectStore.check`."""
        with _writing(), self._temporary() as temporary:
            temporary.write_bytes(b"ready")
            self.clear_abandoned()

    def clear_abandoned(self) -> None:
        """Delete the parts of dead writers; a living one touches its file all the time."""
        limit = (clock.now() - _ABANDONED_AFTER).timestamp()
        with _writing():
            for path in self._partial.iterdir() if self._partial.exists() else ():
                with suppress(FileNotFoundError):  # a writer that has just ended
                    if path.stat().st_mtime < limit:
                        shutil.rmtree(path) if path.is_dir() else path.unlink()

    def close(self) -> None:
        """Return: no connection is held."""

    def _path(self, key: str) -> Path:
        check_key(key)
        return self._root / key

    @contextmanager
    def _temporary(self) -> Iterator[Path]:
        """Yield the path of a new file on the store's own disk; it is gone afterwards unless renamed."""
        self._partial.mkdir(parents=True, exist_ok=True)
        path = self._partial / secrets.token_hex(16)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _bury(self, folder: Path) -> None:
        """Take a whole folder away with one rename, so that nobody sees half of it, then delete it at leisure."""
        if not folder.is_dir():
            return
        self._partial.mkdir(exist_ok=True)
        os.utime(folder)  # so that it does not look abandoned while it is being deleted
        grave = folder.rename(self._partial / secrets.token_hex(16))
        shutil.rmtree(grave)


def _publish(temporary: Path, target: Path) -> None:
    """Rename ``temporary`` to ``target`` and sync the rename; whoever deletes the folder meanwhile is outlasted."""
    while not _renamed(temporary, target):
        pass
    with suppress(FileNotFoundError):  # deleted again already
        sync_folder(target.parent)


def _renamed(temporary: Path, target: Path) -> bool:
    """Return false where the target's folder was deleted while it was made, or before the rename."""
    try:
        _make_folder(target.parent)
        temporary.replace(target)
    except FileNotFoundError:
        if not temporary.exists():
            raise
        return False
    return True


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, each synced into the one above."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def _walk(folder: Path, prefix: str) -> Iterator[ObjectStat]:
    """Yield what lies under ``folder`` in the order of the keys: a folder sorts as if its slash were in its name."""
    with suppress(ObjectNotFoundError), _reading():
        with os.scandir(folder) as found:
            entries = sorted((entry.name + "/" * entry.is_dir(), entry) for entry in found if is_part(entry.name))
        for name, entry in entries:
            if name.endswith("/"):
                yield from _walk(folder / entry.name, prefix + name)
            else:
                with suppress(FileNotFoundError):  # deleted while the folder was listed
                    yield _stat(prefix + name, entry.stat())


def _stat(key: str, status: os.stat_result) -> ObjectStat:
    return ObjectStat(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))


@contextmanager
def _reading() -> Iterator[None]:
    """Translate what the disk answers to who looks for an object."""
    try:
        yield
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise _not_found() from error
    except OSError as error:
        raise _unavailable(error) from error


@contextmanager
def _writing(body: MeteredBody | None = None) -> Iterator[None]:
    """Translate what the disk answers to a writer; what reading ``body`` raised is not the disk's and comes through."""
    try:
        yield
    except OSError as error:
        if body is not None and body.failure is error:
            raise
        raise _unavailable(error) from error


def _not_found() -> ObjectNotFoundError:
    return ObjectNotFoundError("Nothing is stored under this key.")


def _unavailable(error: OSError) -> StoreUnavailableError:
    return StoreUnavailableError(f"The store's folder cannot be used: {error.strerror}.")
