"""One start at a time on a data directory."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedded.errors import StartError

LOCK_NAME = "lock"


@contextmanager
def hold_directory(folder: Path) -> Iterator[int]:
    """Make ``folder`` where it is missing, and hold it alone while the context lasts.

    The kernel frees the lock when its last holder ends, however it ends; the file stays, since removing it would let
    two starts lock two different files of that name.

    Yields:
        The descriptor that holds the lock. A process that inherits it holds the directory too.

    Raises:
        StartError: Another start holds it, or it cannot be written to.
    """
    descriptor = _open_lock(folder)
    try:
        _take(descriptor, folder)
        yield descriptor
    finally:
        os.close(descriptor)


def _open_lock(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StartError(
            f"The data directory {folder} cannot be written to ({error.strerror}): "
            "free it, or name another with LENET_DATA_DIR or --data-dir."
        ) from error


def _take(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StartError(
            f"The data directory {folder} is in use by another start ({_holder(descriptor)}): "
            "stop that one, or name another directory with LENET_DATA_DIR or --data-dir."
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def _holder(descriptor: int) -> str:
    """Return who holds the lock, in words; a holder that was killed leaves its guard, which is at work."""
    pid = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
    if not pid.isdigit():
        return "process unknown"
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return f"process {pid}, which was killed; what it left is being stopped, so try again in some seconds"
    except PermissionError:
        pass  # It lives, under another user.
    return f"process {pid}"
