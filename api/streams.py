"""A bound on streams that stay open: each takes a thread for as long as somebody listens."""

import threading
from collections.abc import Callable

from core.errors import TooManyRequestsError


class Streams:
    """Counts open streams.

    Attributes:
        serving: Says whether the server goes on; streams end when it does not.
    """

    def __init__(self, most: int) -> None:
        self.serving: Callable[[], bool] = lambda: True
        self._most = most
        self._free = threading.BoundedSemaphore(most)

    def enter(self) -> Callable[[], None]:
        """Take a place and return what gives it back, which may be called more than once.

        Raises:
            TooManyRequestsError: Every place is taken.
        """
        if not self._free.acquire(blocking=False):
            raise TooManyRequestsError(f"{self._most} event streams are open; poll, or try again later.")
        once = threading.Lock()

        def leave() -> None:
            if once.acquire(blocking=False):
                self._free.release()

        return leave
