"""The heartbeat: keeps a lease alive from a thread of its own, and says when it is lost."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from core import logs
from core.errors import LeaseLostError, UnavailableError

_log = logs.get(__name__)


class Lease:
    """Renews a claim until it is left.

    ``lost`` is set as soon as the database says that the claim is no longer held, or when it could not be renewed
    for so long that, by this machine's own monotonic clock, another worker may hold it: then nothing more may be
    written, whether the database answers or not.
    """

    def __init__(self, renew: Callable[[], object], *, lease_seconds: float, heartbeat_seconds: float) -> None:
        self.lost = threading.Event()
        self._renew = renew
        self._lease_seconds = lease_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._left = threading.Event()
        self._renewed_at = time.monotonic()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        self._thread.join()

    def check(self) -> None:
        """Raise `LeaseLostError` where the lease is lost.

        The clock is asked here too: a renewal that hangs, or a process that was frozen, notices nothing by itself.
        """
        if time.monotonic() - self._renewed_at > self._lease_seconds:
            self.lost.set()
        if self.lost.is_set():
            raise LeaseLostError("The lease is lost.")

    def _beat(self) -> None:
        while not self._left.wait(self._heartbeat_seconds):
            before = time.monotonic()
            try:
                self._renew()
                self._renewed_at = before
            except LeaseLostError:
                self.lost.set()
                return
            except UnavailableError as error:
                _log.warning("the lease could not be renewed", detail=error.detail)
            if time.monotonic() - self._renewed_at > self._lease_seconds - self._heartbeat_seconds:
                _log.error("the lease ran out unrenewed")
                self.lost.set()
                return
