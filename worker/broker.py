"""Redis as Celery's broker, behind a check: a message that is not one of ours is dropped before Celery sees it.

Left to itself, Celery ends with the first message that is no JSON, decompresses what a message says is compressed, and
does what its headers ask for.
"""

from typing import Any

from kombu.transport import redis
from redis import Redis

from core import logs
from worker.messages import ForeignMessageError, rebuild

NAME = f"{__name__}:Transport"
_TAKE = "BRPOP"
_log = logs.get(__name__)


class CheckedRedis(Redis):
    """A connection whose queues give rebuilt messages only; for a dropped one it answers that there was none."""

    def parse_response(self, connection: Any, command_name: Any, **options: Any) -> Any:
        """Return the answer to a command; see redis-py's ``Redis``."""
        answer = super().parse_response(connection, command_name, **options)  # type: ignore[no-untyped-call]  # redis-py's
        if command_name != _TAKE or not answer:
            return answer
        key, raw = answer
        message = _check(raw, key)
        return None if message is None else (key, message)


class Channel(redis.Channel):
    """kombu's channel over checked connections."""

    def _get_client(self) -> type[Redis]:
        return CheckedRedis


class Transport(redis.Transport):
    """kombu's transport over checked connections."""

    Channel = Channel


def _check(raw: bytes, key: bytes) -> bytes | None:
    queue = key.decode(errors="replace").partition(redis.Channel.sep)[0]
    try:
        return rebuild(raw, queue)
    except ForeignMessageError as error:
        _log.warning("a message was dropped", queue=queue, reason=str(error))
        return None
