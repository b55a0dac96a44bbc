"""This host's cache of packs: bounded in bytes, shared by all its processes, each pack fetched once."""

import fcntl
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from core.datasets.packs import digest_of
from core.errors import IntegrityError

_DIGEST = re.compile(r"[0-9a-f]{64}")
_PACK, _PART, _LOCK = ".pack", ".part", ".lock"
# Packs, parts, and the hidden files that a store writes a part to until it is whole.
_BYTES = (f"*{_PACK}", f"*{_PART}", f".*{_PART}.*")


class PackCache:
    """Packs in a folder of this host, named by their SHA-256.

    While a pack is used its lock file is held (``flock``, shared), by as many threads and processes as like;
    whoever fetches or deletes it holds the lock alone. The system frees the locks of a process that dies.

    Args:
        folder: Where the packs are; made when it is first needed.
        max_bytes: Bound of all packs together. The least recently used go first, one in use never: so the bound is
            passed while more is in use at once, and for the moment between a fetch and the tidying after it.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    @contextmanager
    def use(self, digest: str, fetch: Callable[[Path], None]) -> Iterator[Path]:
        """Yield the local path of a pack, which stays while the context lasts.

        Args:
            digest: The pack's SHA-256 in hexadecimal.
            fetch: Writes the pack to the path that it is given. It is called at most once at a time on this host,
                and only where the pack is not there.

        Raises:
            IntegrityError: What was fetched has another digest; nothing of it is kept.
        """
        if not _DIGEST.fullmatch(digest):
            raise ValueError("a pack's digest is 64 hexadecimal digits")
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / (digest + _PACK)
        lock = self._hold(path, fetch, digest)
        try:
            os.utime(path)
            self._tidy()
            yield path
        finally:
            os.close(lock)
            self._tidy()

    def _hold(self, path: Path, fetch: Callable[[Path], None], digest: str) -> int:
        """Return a shared lock on a pack that is there."""
        while True:
            lock = hold_lock(_lock_of(path), fcntl.LOCK_SH)
            if path.exists():
                return lock
            os.close(lock)
            lock = hold_lock(_lock_of(path), fcntl.LOCK_EX)
            try:
                if not path.exists():
                    _fetch(path, fetch, digest)
            finally:
                os.close(lock)  # another may delete the pack before it is ours again: then once more

    def _tidy(self) -> None:
        """Delete the least recently used packs that nobody uses until the bound is kept."""
        packs = sorted(self._measure(), key=lambda pack: pack[1])
        excess = sum(size for _, _, size in packs) - self._max_bytes
        for path, _, size in packs:
            if excess <= 0:
                return
            if _delete_unused(path):
                excess -= size

    def _measure(self) -> Iterator[tuple[Path, float, int]]:
        """Yield path, time of last use and size of each pack, and of what is left of broken fetches."""
        for path in [found for pattern in _BYTES for found in self._folder.glob(pattern)]:
            try:
                about = path.stat()
            except FileNotFoundError:  # another process was faster
                continue
            yield path, about.st_mtime, about.st_size


def _lock_of(path: Path) -> Path:
    """Return the lock file of the pack that a file belongs to, whole or not."""
    digest = _DIGEST.search(path.name)
    assert digest is not None, "every file of the cache is named by its pack's digest"
    return path.with_name(digest.group() + _LOCK)


def hold_lock(name: Path, mode: int) -> int:
    """Return a descriptor of the file ``name``, made where it is missing, that holds a lock on it (``flock``).

    Whoever holds it alone may delete the file: those who wait then make it anew.

    Raises:
        BlockingIOError: Another holds it, and ``mode`` says not to wait.
    """
    while True:
        lock = os.open(name, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, mode)
            if os.fstat(lock).st_nlink:  # else it was deleted while we waited
                return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def _fetch(path: Path, fetch: Callable[[Path], None], digest: str) -> None:
    part = path.with_suffix(_PART)
    try:
        fetch(part)
        if digest_of(part) != digest:
            raise IntegrityError("The pack that was fetched is not the one that was recorded.")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _delete_unused(path: Path) -> bool:
    try:
        lock = hold_lock(_lock_of(path), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    try:
        path.unlink(missing_ok=True)
        name = _lock_of(path)
        if not name.with_suffix(_PACK).exists():
            name.unlink(missing_ok=True)
    finally:
        os.close(lock)
    return True
