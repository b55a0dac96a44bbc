"""This host's cache of packs: bounded in bytes, shared by all its processes, each pack fetched once."""

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from core import logs
from core.datasets.packs import digest_of
from core.errors import IntegrityError

_log = logs.get(__name__)
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PACK, _PART, _LOCK = ".pack", ".part", ".lock"
# Packs, parts, and the hidden files that a store writes a part to until it is whole.
_BYTES = (f"*{_PACK}", f"*{_PART}", f".*{_PART}.*")
_LOOK_SECONDS = 0.05


def wait_for_ever() -> None:
    """Whoever waits for nothing else."""


class PackCache:
    """Packs in a folder of this host, named by their SHA-256.

    While a pack is used its lock file is held (``flock``, shared), by as many threads and processes as like;
    whoever fetches or deletes it holds the lock alone. The system frees the locks of a process that dies.

    A pack is compared with its digest when it is fetched, when a process first uses it and when the file was written to
    since: a disk that has spoilt it ruins no training.

    Args:
        folder: Where the packs are; made when it is first needed.
        max_bytes: Bound of all packs together. The least recently used go first, one in use never: so the bound is
            passed while more is in use at once, and for the moment between a fetch and the tidying after it.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._sound: dict[str, tuple[int, int, int]] = {}

    @contextmanager
    def use(
        self, digest: str, fetch: Callable[[Path], None], *, check: Callable[[], None] = wait_for_ever
    ) -> Iterator[Path]:
        """Yield the local path of a pack, which stays while the context lasts.

        Args:
            digest: The pack's SHA-256 in hexadecimal.
            fetch: Writes the pack to the path that it is given. It is called at most once at a time on this host,
                and only where the pack is not there.
            check: Called again and again while another fetches it; what it raises ends the wait.

        Raises:
            IntegrityError: What was fetched has another digest; nothing of it is kept. Or the file that is here is
                damaged, and others use it.
        """
        if not _DIGEST.fullmatch(digest):
            raise ValueError("a pack's digest is 64 hexadecimal digits")
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / (digest + _PACK)
        lock = self._hold(path, fetch, digest, check)
        try:
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
            self._tidy()
            yield path
        finally:
            os.close(lock)
            self._tidy()

    def _hold(self, path: Path, fetch: Callable[[Path], None], digest: str, check: Callable[[], None]) -> int:
        """Return a shared lock on a pack that is there, and whole."""
        while True:
            lock = hold_lock(_lock_of(path), fcntl.LOCK_SH, check)
            try:
                if (is_there := path.exists()) and self._is_sound(path, digest):
                    return lock
            except BaseException:
                os.close(lock)
                raise
            os.close(lock)
            if is_there and not _delete_unused(path):
                raise IntegrityError("The pack in this host's cache is damaged, and others use it.")
            lock = hold_lock(_lock_of(path), fcntl.LOCK_EX, check)
            try:
                if not path.exists():
                    _fetch(path, fetch, digest)
                    self._sound[digest] = _stamp(path)
            finally:
                os.close(lock)  # another may delete the pack before it is ours again: then once more

    def _is_sound(self, path: Path, digest: str) -> bool:
        """Compare a pack with its digest, unless this process did so already and nobody has written to it since."""
        stamp = _stamp(path)
        if self._sound.get(digest) == stamp:
            return True
        if digest_of(path) != digest:
            _log.error("a pack of this host's cache is damaged and will be fetched anew", pack=digest)
            return False
        self._sound[digest] = stamp
        return True

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
            yield path, about.st_atime, about.st_size


def _stamp(path: Path) -> tuple[int, int, int]:
    """Return what changes when a file is written to or put in the place of another."""
    about = path.stat()
    return about.st_ino, about.st_size, about.st_mtime_ns


def _lock_of(path: Path) -> Path:
    """Return the lock file of the pack that a file belongs to, whole or not."""
    digest = _DIGEST.search(path.name)
    assert digest is not None, "every file of the cache is named by its pack's digest"
    return path.with_name(digest.group() + _LOCK)


def hold_lock(name: Path, mode: int, check: Callable[[], None] = wait_for_ever) -> int:
    """Return a descriptor of the file ``name``, made where it is missing, that holds a lock on it (``flock``).

    Whoever holds it alone may delete the file: those who wait then make it anew. While another holds it, ``check`` is
    called again and again: the other may be frozen, and what it raises ends the wait.

    Raises:
        BlockingIOError: Another holds it, and ``mode`` says not to wait.
    """
    while True:
        lock = os.open(name, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            while not _has_locked(lock, mode):
                check()
                time.sleep(_LOOK_SECONDS)
            if os.fstat(lock).st_nlink:  # else it was deleted while we waited
                return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def _has_locked(lock: int, mode: int) -> bool:
    """Lock a descriptor, unless another holds it; raises `BlockingIOError` where ``mode`` says not to wait."""
    try:
        fcntl.flock(lock, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        if mode & fcntl.LOCK_NB:
            raise
        return False
    return True


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
