"""Connections: a request takes a thread once it is there, so that slow clients hold none.

gunicorn's own worker hands a connection to a thread with its first byte, and closes it in the thread that accepts. Here
one loop gathers each request as it comes, cuts off whoever is too slow, and closes connections without waiting.
"""

import errno
import socket
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from selectors import EVENT_READ
from typing import Any, ClassVar

from gunicorn.workers.gthread import TConn, ThreadWorker

from api import refusals
from api.arrivals import Arrival
from api.pacing import PacedSocket, Patience

_CHUNK_BYTES = 2**16
_LOOK_SECONDS = 0.25
_LINGER_SECONDS = 2.0
_PARKED_SECONDS = 30.0
_STOPPING_SECONDS = 2.0
_CROWDED_SECONDS = 1.0
_NOTHING_TO_ACCEPT = (errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNABORTED)


class Connection(TConn):  # type: ignore[misc]  # gunicorn has no types
    """A client's connection.

    Attributes:
        received: What came of the next request, to be given to its parser.
        has_place: Whether it holds one of the places for long bodies.
        deadline: When it is given up, where it is parked or lingers.
        awaited_since: When its next request began to be waited for.
    """

    received: bytes = b""
    has_place = False
    deadline = 0.0
    awaited_since = 0.0


class PatientWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """Serves with threads, and waits for clients without them.

    A connection is in one of these states: its request arrives; it is parked, since its long body needs one of the few
    places for such; a thread has it; it lingers, so that the client sees the answer before the end.
    """

    patience: ClassVar[Patience]
    most_body_bytes: ClassVar[int]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._arriving: dict[Connection, Arrival] = {}
        self._parked: deque[Connection] = deque()
        self._lingering: set[Connection] = set()
        self._places = max(1, self.cfg.threads // 4)
        self._look_at = 0.0

    def accept(self, listener: socket.socket) -> None:
        """Take a new connection, where there still is one."""
        try:
            link, address = listener.accept()
        except OSError as error:
            if error.errno in _NOTHING_TO_ACCEPT:
                return
            raise
        self.nr_conns += 1
        connection = Connection(self.cfg, PacedSocket(link, self.patience), address, listener.getsockname())
        self._await_request(connection, seconds=self.patience.seconds)

    def handle(self, conn: Connection) -> Any:
        """Answer a request that has arrived; called in a thread."""
        conn.sock.setblocking(True)
        conn.sock.begin()
        conn.init()
        conn.parser.unreader.unread(conn.received)
        conn.received = b""
        return super().handle(conn)

    def handle_error(self, req: Any, client: PacedSocket, addr: Any, exc: BaseException) -> None:
        """Answer what the parser refuses, and defects of ours."""
        status = refusals.status_of(exc)
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            self.log.error("a request failed in the server: %s", getattr(req, "path", ""), exc_info=exc)
        _say(client, refusals.make_refusal(status, client=_shown(addr)))

    def finish_request(self, conn: Connection, fs: Any) -> None:
        """Take a connection back from a thread; called in the loop."""
        self._leave_place(conn)
        if fs.cancelled() or fs.exception():
            self._drop(conn)
        elif fs.result():
            seconds = self.cfg.keepalive if self.alive else _STOPPING_SECONDS
            self._await_request(conn, seconds=seconds, received=conn.parser.unreader.take_buffered())
        else:
            self._linger(conn)

    def murder_pending(self) -> None:
        """Cut off whoever has used up our patience; gunicorn calls it after each turn of the loop."""
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_SECONDS
        self._cut_slow(now)
        while self._parked and (self._parked[0].deadline <= now or not self.alive):
            self._refuse(self._parked.popleft(), HTTPStatus.SERVICE_UNAVAILABLE)
        for connection in [one for one in self._lingering if one.deadline <= now]:
            self._forget(connection)

    def _cut_slow(self, now: float) -> None:
        if not self.alive:
            for arrival in self._arriving.values():
                arrival.deadline = min(arrival.deadline, now + _STOPPING_SECONDS)
        slow = [one for one, arrival in self._arriving.items() if arrival.deadline <= now]
        if self._arriving and self.nr_conns >= self.worker_connections:
            slow += self._find_idle(now) or [next(iter(self._arriving))]
        for connection in dict.fromkeys(slow):
            arrival = self._stop_gathering(connection)
            if arrival.received:
                self._refuse(connection, HTTPStatus.REQUEST_TIMEOUT)
            else:
                self._drop(connection)

    def _find_idle(self, now: float) -> list[Connection]:
        """Return who has sent nothing for a moment, and makes room for all who wait at the door."""
        since = now - _CROWDED_SECONDS
        return [one for one, arrival in self._arriving.items() if not arrival.received and one.awaited_since <= since]

    def _await_request(self, connection: Connection, *, seconds: float, received: bytes = b"") -> None:
        now = time.monotonic()
        arrival = Arrival(self.patience, deadline=now + seconds, most_body_bytes=self.most_body_bytes)
        connection.awaited_since = now
        connection.sock.setblocking(False)
        self._arriving[connection] = arrival
        self._watch(connection, self._gather)
        if received:
            arrival.feed(received, now=now)
            self._go_on(connection, arrival)

    def _gather(self, connection: Connection) -> None:
        arrival = self._arriving[connection]
        try:
            piece = connection.sock.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece and not arrival.has_head:
            self._stop_gathering(connection)
            self._drop(connection)
            return
        arrival.feed(piece, now=time.monotonic())
        self._go_on(connection, arrival)

    def _go_on(self, connection: Connection, arrival: Arrival) -> None:
        """Give a request to a thread if it is there."""
        if arrival.is_too_long:
            self._stop_gathering(connection)
            has_line = b"\r\n" in arrival.received
            self._refuse(
                connection,
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if has_line else HTTPStatus.REQUEST_URI_TOO_LONG,
            )
        elif arrival.is_too_large:
            self._stop_gathering(connection)
            self._refuse(connection, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        elif arrival.is_ready:
            self._stop_gathering(connection)
            connection.received = bytes(arrival.received)
            if arrival.has_long_body:
                self._park(connection)
            else:
                self.enqueue_req(connection)

    def _park(self, connection: Connection) -> None:
        connection.deadline = time.monotonic() + _PARKED_SECONDS
        self._parked.append(connection)
        self._fill_places()

    def _fill_places(self) -> None:
        while self._parked and self._places:
            connection = self._parked.popleft()
            connection.has_place = True
            self._places -= 1
            self.enqueue_req(connection)

    def _leave_place(self, connection: Connection) -> None:
        if connection.has_place:
            connection.has_place = False
            self._places += 1
            self._fill_places()

    def _refuse(self, connection: Connection, status: HTTPStatus) -> None:
        _say(connection.sock, refusals.make_refusal(status, client=_shown(connection.client)))
        self._linger(connection)

    def _linger(self, connection: Connection) -> None:
        """Send no more, and pass over what still comes for a while: a close at once could destroy the answer."""
        try:
            connection.sock.setblocking(False)
            connection.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(connection)
            return
        connection.deadline = time.monotonic() + _LINGER_SECONDS
        self._lingering.add(connection)
        self._watch(connection, self._pass_over)

    def _pass_over(self, connection: Connection) -> None:
        try:
            if connection.sock.recv(_CHUNK_BYTES):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        self._lingering.discard(connection)
        self.poller.unregister(connection.sock)
        self._drop(connection)

    def _stop_gathering(self, connection: Connection) -> Arrival:
        self.poller.unregister(connection.sock)
        return self._arriving.pop(connection)

    def _watch(self, connection: Connection, act: Callable[[Connection], None]) -> None:
        self.poller.register(connection.sock, EVENT_READ, partial(_act, act, connection))

    def _drop(self, connection: Connection) -> None:
        self.nr_conns -= 1
        connection.close()


def patient_worker(patience: Patience, *, most_body_bytes: int) -> type[PatientWorker]:
    """Return the class of workers that have this patience, and take no body that is longer."""
    return type("PatientWorker", (PatientWorker,), {"patience": patience, "most_body_bytes": most_body_bytes})


def _act(act: Callable[[Connection], None], connection: Connection, _: socket.socket) -> None:
    act(connection)


def _shown(address: Any) -> str:
    return str(address[0]) if isinstance(address, tuple) else str(address)


def _say(link: socket.socket, answer: bytes) -> None:
    """Send an answer as far as it goes at once."""
    try:
        link.setblocking(False)
        link.send(answer)
    except OSError:
        return
