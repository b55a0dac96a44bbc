import json
import socket
import time

import pytest
from redis import Redis

from api.queue import CelerySender
from core.errors import UnavailableError
from core.services.messages import WakeUp

MESSAGE = WakeUp("lenet.train", "cpu", "job_0")


@pytest.fixture
def redis(redis_url):
    connection = Redis.from_url(redis_url)
    connection.flushall()
    yield connection
    connection.close()


def test_a_message_waits_in_the_queue_as_a_celery_task(redis, redis_url):
    sender = CelerySender(redis_url)
    sender.send(MESSAGE)
    assert sender.depth("cpu") == 1
    assert sender.depth("gpu") == 0
    message = json.loads(redis.lindex("cpu", 0))
    assert message["headers"]["task"] == "lenet.train"
    assert message["content-type"] == "application/json"


def test_a_redis_that_was_emptied_gets_the_next_message(redis, redis_url):
    sender = CelerySender(redis_url)
    sender.send(MESSAGE)
    redis.flushall()
    sender.send(MESSAGE)
    assert sender.depth("cpu") == 1


def test_a_redis_that_closed_the_connection_gets_a_later_message(redis, redis_url):
    sender = CelerySender(redis_url)
    sender.send(MESSAGE)
    redis.client_kill_filter(_type="normal", skipme=True)
    for _ in range(2):
        try:
            sender.send(MESSAGE)
        except UnavailableError:
            continue
    assert sender.depth("cpu") >= 2


def test_a_redis_that_is_not_there_is_unavailable(free_port):
    sender = CelerySender(f"redis://127.0.0.1:{free_port()}/0")
    for ask in (lambda: sender.send(MESSAGE), lambda: sender.depth("cpu"), sender.check):
        with pytest.raises(UnavailableError) as caught:
            ask()
        assert caught.value.code == "queue_unavailable"


def test_a_redis_that_hangs_is_given_up_in_seconds():
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        sender = CelerySender(f"redis://127.0.0.1:{hanging.getsockname()[1]}/0")
        for ask in (lambda: sender.send(MESSAGE), lambda: sender.depth("cpu"), sender.check):
            began = time.monotonic()
            with pytest.raises(UnavailableError):
                ask()
            assert time.monotonic() - began < 8
