"""What processes hold in memory, and the most of it while something runs."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psutil


class PeakWatch:
    """Reads a value again and again while a block runs, and keeps the most that it came to.

    Attributes:
        peak: The most that was read in the blocks so far; 0 before.
    """

    def __init__(self, read: Callable[[], float], *, every_seconds: float) -> None:
        self.peak = 0.0
        self._read = read
        self._every_seconds = every_seconds

    @contextmanager
    def running(self) -> Iterator[None]:
        """Read while the block runs, and once at its beginning; what reading raises, this raises at the end."""
        ended = threading.Event()
        with ThreadPoolExecutor(max_workers=1) as pool:
            reading = pool.submit(self._sample, ended)
            try:
                yield
            finally:
                ended.set()
            reading.result()

    def _sample(self, ended: threading.Event) -> None:
        self.peak = max(self.peak, self._read())
        while not ended.wait(self._every_seconds):
            self.peak = max(self.peak, self._read())


def with_descendants(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Return processes and all that they have started."""
    return [one for process in processes for one in (process, *process.children(recursive=True))]


def resident_bytes(process: psutil.Process) -> int:
    """Return what a process has in memory, pages of files and those that others have too included."""
    return int(process.memory_info().rss)


def anonymous_bytes(process: psutil.Process) -> int:
    """Return what a process has in memory that is no file's: the system could not drop it."""
    memory = process.memory_info()
    return int(memory.rss - memory.shared)


def proportional_bytes(process: psutil.Process) -> int:
    """Return what a process has in memory, each page divided by the processes that have it (PSS)."""
    return int(process.memory_full_info().pss)


def unshared_bytes(process: psutil.Process) -> int:
    """Return what a process has in memory alone: what its end would give back (USS)."""
    return int(process.memory_full_info().uss)


def add_up(processes: Iterable[psutil.Process], measure: Callable[[psutil.Process], int]) -> int:
    """Return the sum over processes; one that has ended meanwhile holds nothing."""
    total = 0
    for process in processes:
        try:
            total += measure(process)
        except psutil.NoSuchProcess:
            continue
    return total
