"""The queue: wake-ups are sent by name, after the commit, from a thread of their own."""

import queue
import ssl
import threading
from collections.abc import Iterable
from typing import Any

from celery import Celery
from kombu.exceptions import KombuError
from redis import Redis
from redis.exceptions import RedisError

from core import logs
from core.domain import tasks
from core.errors import UnavailableError
from core.services.messages import Sender, WakeUp

_SOCKET_SECONDS = 3.0
_MOST_WAITING = 1000
_log = logs.get(__name__)


class CelerySender:
    """Sends through Celery to Redis; a Redis that hangs is given up after three seconds."""

    def __init__(self, url: str) -> None:
        options = {"socket_timeout": _SOCKET_SECONDS, "socket_connect_timeout": _SOCKET_SECONDS}
        self._redis: Any = Redis.from_url(url, **options)
        self._celery = Celery("lenet", broker=url)
        self._celery.conf.update(
            task_serializer="json",
            task_ignore_result=True,
            task_default_queue=tasks.INGEST_QUEUE,
            task_create_missing_queues=True,
            broker_connection_timeout=_SOCKET_SECONDS,
            broker_transport_options={**options, "retry_on_timeout": False, "max_retries": 0},
            broker_use_ssl={"ssl_cert_reqs": ssl.CERT_REQUIRED} if url.startswith("rediss") else None,
        )

    def send(self, message: WakeUp) -> None:
        """Send one message; raises `UnavailableError` where Redis does not answer in seconds."""
        try:
            self._celery.send_task(message.task, args=[message.resource_id], queue=message.queue, retry=False)
        except (KombuError, RedisError, OSError) as error:
            raise _unavailable() from error

    def depth(self, queue: tasks.Queue) -> int:
        """Return how many messages wait; raises `UnavailableError` likewise."""
        try:
            return int(self._redis.llen(queue))
        except (RedisError, OSError) as error:
            raise _unavailable() from error

    def check(self) -> None:
        """Raise `UnavailableError` where Redis does not answer in seconds."""
        try:
            self._redis.ping()
        except (RedisError, OSError) as error:
            raise _unavailable() from error


class Outbox:
    """Takes wake-ups without waiting, so that a queue that hangs never holds up a request.

    What cannot be sent is logged and forgotten: the sweeper finds in SQL what waits and sends it again. The thread
    starts with the first message, which is after the server's fork.
    """

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._waiting: queue.Queue[WakeUp] = queue.Queue(_MOST_WAITING)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def post(self, messages: Iterable[WakeUp]) -> None:
        """Send messages soon; to be called after the commit."""
        for message in messages:
            try:
                self._waiting.put_nowait(message)
            except queue.Full:
                _log.warning("a wake-up is left to the sweeper", resource=message.resource_id, reason="too many wait")
        self._start()

    def settle(self) -> None:
        """Wait until everything posted so far was tried."""
        self._waiting.join()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="outbox", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while True:
            message = self._waiting.get()
            try:
                self._sender.send(message)
            except UnavailableError as error:
                _log.warning("a wake-up is left to the sweeper", resource=message.resource_id, reason=error.detail)
            except Exception:  # noqa: BLE001 - nobody stands above this thread: its end would end every wake-up
                _log.exception("a wake-up could not be sent", resource=message.resource_id)
            finally:
                self._waiting.task_done()


def _unavailable() -> UnavailableError:
    return UnavailableError("Redis does not answer.", code="queue_unavailable")
