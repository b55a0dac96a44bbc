"""Tells SQL that this worker lives, and looks for work that no message has announced."""

import socket
import threading
from collections.abc import Callable

from core import logs
from core.db.engine import transaction
from core.errors import LenetError
from core.services import workers
from worker.host import Host
from worker.slots import Slots
from worker.sweeping import sweep

_log = logs.get(__name__)


class Presence:
    """Two threads: one reports the worker, one sweeps and polls, so that a dead Redis only slows things down."""

    def __init__(self, host: Host, slots: Slots) -> None:
        self._host = host
        self._slots = slots
        self._threads = [
            threading.Thread(target=self._every, args=(host.settings.heartbeat_seconds, self.report), daemon=True),
            threading.Thread(target=self._every, args=(host.settings.poll_seconds, self.poll), daemon=True),
        ]

    def start(self) -> None:
        """Start both threads."""
        for thread in self._threads:
            thread.start()

    def report(self) -> None:
        """Write the worker's row."""
        host = self._host
        with transaction(host.sessions) as session:
            workers.report(
                session,
                name=host.name,
                host=socket.gethostname(),
                role=host.role,
                device=host.device,
                slots=self._slots.count,
                busy=self._slots.busy(),
                engines=host.engines,
            )

    def poll(self) -> None:
        """Sweep, and fill a slot where one is free, in a thread of its own."""
        sweep(self._host)
        threading.Thread(target=self._slots.fill, name="polled", daemon=True).start()

    def leave(self) -> None:
        """Take the worker's row away."""
        with transaction(self._host.sessions) as session:
            workers.leave(session, self._host.name)

    def _every(self, seconds: float, action: Callable[[], None]) -> None:
        while True:
            try:
                action()
            except LenetError as error:
                _log.warning("will try again", detail=error.detail)
            if self._slots.closing.wait(seconds):
                return
