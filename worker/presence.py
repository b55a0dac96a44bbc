"""Tells SQL that this worker lives, and looks for work that no message has announced."""

import socket
import threading
from collections.abc import Callable
from functools import partial

from core import logs
from core.db.engine import transaction
from core.errors import LenetError
from core.services import workers
from worker.host import Host
from worker.slots import Slots
from worker.sweeping import sweep

_log = logs.get(__name__)


class Presence:
    """Two threads: one reports the worker, one sweeps and polls, so that a dead Redis only slows things down.

    Neither ever ends by an error: what is away is waited for, and each failure is told.
    """

    def __init__(self, host: Host, *slots: Slots) -> None:
        self._host = host
        self._slots = slots
        self._lock = threading.Lock()
        self._started = False
        self._threads = [
            threading.Thread(target=self._every, args=(host.settings.heartbeat_seconds, self.report), daemon=True),
            threading.Thread(target=self._every, args=(host.settings.poll_seconds, self.poll), daemon=True),
        ]

    def start(self) -> None:
        """Start both threads, unless that was done."""
        with self._lock:
            for thread in self._threads if not self._started else ():
                thread.start()
            self._started = True

    def report(self) -> None:
        """Write the worker's row."""
        host = self._host
        with transaction(host.heartbeats) as session:
            workers.report(
                session,
                name=host.name,
                host=socket.gethostname(),
                role=host.role,
                device=host.device,
                slots=sum(slots.count for slots in self._slots),
                busy=[name for slots in self._slots for name in slots.busy()],
                engines=host.engines,
            )

    def poll(self) -> None:
        """Fill a slot of each kind where one is free, each in a thread of its own, and sweep.

        A queue in trouble hinders no job.
        """
        for slots in self._slots:
            threading.Thread(target=self._try, args=(partial(self._fill, slots),), name="polled", daemon=True).start()
        sweep(self._host)

    def _fill(self, slots: Slots) -> None:
        slots.fill()
        _log.debug("has looked for work without a message", busy=slots.busy())

    def leave(self) -> None:
        """Take the worker's row away; where the database is away too, the row grows old instead."""
        self._try(self._forget)

    def _forget(self) -> None:
        with transaction(self._host.heartbeats) as session:
            workers.leave(session, self._host.name)

    def _every(self, seconds: float, action: Callable[[], None]) -> None:
        while True:
            self._try(action)
            if self._slots[0].closing.wait(seconds):
                return

    @staticmethod
    def _try(action: Callable[[], None]) -> None:
        try:
            action()
        except LenetError as error:
            _log.warning("waiting for what is away, and trying again", detail=error.detail)
        except Exception:  # noqa: BLE001 - nobody stands above these threads: a worker without them looks dead
            _log.exception("trying again after a defect")
