"""Slots: how many things of one kind a worker does at once, and the loop that fills one while work waits."""

import threading
import time
from collections.abc import Callable

_FIRST_REST_SECONDS = 1.0
_LONGEST_REST_SECONDS = 5.0


class Slots:
    """A fixed number of slots, and the ids of what is being done in them."""

    def __init__(self, count: int, run_next: Callable[["Slots"], bool]) -> None:
        self.count = count
        self.closing = threading.Event()
        self._run_next = run_next
        self._free = threading.Semaphore(count)
        self._busy: set[str] = set()
        self._lock = threading.Lock()
        self._broken = threading.local()

    def fill(self) -> None:
        """Work in a free slot until nothing waits; return at once where no slot is free.

        A message that finds every slot taken may be dropped: whoever leaves a slot looks for the next row first.
        """
        if not self._free.acquire(blocking=False):
            return
        try:
            while not self.closing.is_set() and self._run_next(self):
                pass
        finally:
            self._free.release()

    def settle(self, seconds: float) -> bool:
        """Wait until every slot is free, whoever fills it, and return whether that came true in time.

        A slot that a thread of the worker's own fills, since no message came, is known to nobody else.
        """
        deadline = time.monotonic() + seconds
        freed = [self._free.acquire(timeout=max(0.0, deadline - time.monotonic())) for _ in range(self.count)]
        for _ in range(sum(freed)):
            self._free.release()
        return all(freed)

    def rest(self, *, broke: bool) -> None:
        """Wait before the next look where the last thing broke here and another could do it, longer each time in a row.

        What broke goes back to the queue, and a machine that is ill would break all that wait there within seconds:
        a healthy one is to come first.
        """
        broken = getattr(self._broken, "in_a_row", 0) + 1 if broke else 0
        self._broken.in_a_row = broken
        if broken:
            self.closing.wait(min(_FIRST_REST_SECONDS * 2 ** (broken - 1), _LONGEST_REST_SECONDS))

    def busy(self) -> list[str]:
        """Return the ids of what is being done, sorted."""
        with self._lock:
            return sorted(self._busy)

    def enter(self, resource_id: str) -> None:
        """Note that work on an id begins."""
        with self._lock:
            self._busy.add(resource_id)

    def leave(self, resource_id: str) -> None:
        """Note that work on an id has ended."""
        with self._lock:
            self._busy.discard(resource_id)
