"""Sends wake-ups through Celery."""

from celery import Celery
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import RedisError

from core.domain.tasks import Queue
from core.errors import UnavailableError
from core.services.messages import WakeUp


class CelerySender:
    """The queue as the worker sees it."""

    def __init__(self, app: Celery, redis: "Redis") -> None:
        self._app = app
        self._redis = redis

    def send(self, message: WakeUp) -> None:
        """Send one message; raises `UnavailableError` where Redis does not answer in seconds."""
        try:
            self._app.send_task(message.task, args=[message.resource_id], queue=message.queue, retry=False)
        except (OperationalError, RedisError, OSError) as error:
            raise UnavailableError("Redis does not answer.", code="queue_unavailable") from error

    def depth(self, queue: Queue) -> int:
        """Return how many messages wait; raises `UnavailableError` likewise."""
        try:
            return int(self._redis.llen(queue))
        except (RedisError, OSError) as error:
            raise UnavailableError("Redis does not answer.", code="queue_unavailable") from error
