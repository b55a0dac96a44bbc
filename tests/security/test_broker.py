"""A71-A74, A76: whoever can write to the queue can wake a worker, and no more. Redis is one without any rights here."""

import json
import os
import pickle
import zlib
from base64 import b64encode

import pytest
from celery import Celery
from redis import Redis
from security.redis_servers import guarded_redis
from security.workers import running_worker

from api.queue import CelerySender
from core.domain import tasks
from core.services.messages import WakeUp

TREASURE = "canary-of-the-message"


class Payload:
    """Makes a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def encode(content):
    return b64encode(content if isinstance(content, bytes) else json.dumps(content).encode()).decode()


def forge(*, body=None, headers=None, **changes):
    """Return a message as Celery would send it to the ingest queue, with changes."""
    envelope = {
        "body": encode([["ds_0"], {}, {"callbacks": None}]),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"lang": "py", "task": tasks.INGEST, "id": "1", **(headers or {})},
        "properties": {
            "body_encoding": "base64",
            "correlation_id": "1",
            "delivery_tag": "1",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "ingest"},
        },
    }
    return json.dumps({**envelope, **({} if body is None else {"body": body}), **changes})


@pytest.fixture(scope="module")
def worker(tmp_path_factory, redis_url):
    with running_worker(tmp_path_factory.mktemp("worker"), redis_url) as running:
        yield running


@pytest.fixture
def redis(redis_url):
    with Redis.from_url(redis_url) as connection:
        yield connection


@pytest.fixture
def attack(worker, redis, redis_url):
    """Return the function that pushes messages and shows that the worker took them and works on as before."""

    def attack(*messages, queue="ingest"):
        said, before = len(worker.said()), worker.children()
        for message in messages:
            redis.lpush(queue, message)
        dataset_id = worker.add_dataset()
        CelerySender(redis_url).send(WakeUp(tasks.INGEST, tasks.INGEST_QUEUE, dataset_id))
        worker.until(lambda: worker.status(dataset_id) == "rejected")
        assert redis.llen(queue) == 0
        worker.until(lambda: set(worker.children()) <= set(before))
        news = worker.said()[said:]
        assert TREASURE not in news
        assert news.count("a message was dropped") == len(messages), news
        assert "Traceback" not in news
        return news

    return attack


def test_a71_a_pickle_is_not_read(attack, tmp_path):
    trap = tmp_path / "trap"
    payload = pickle.dumps(Payload(trap))
    pickled = {"content-type": "application/x-python-serialize", "content-encoding": "binary"}
    attack(
        forge(body=encode(payload), **pickled),
        forge(body=encode(payload)),
        payload,
        forge(body=encode(payload), headers={"content_type": "application/x-python-serialize"}, **pickled),
    )
    assert not trap.exists()


def test_a72_what_is_no_message_is_dropped_and_told(attack):
    attack(TREASURE, b"", b"\xff\x00\xfe", "null", "[]", "1" * 6000, "[" * 15000, '{"a": ' * 3000, json.dumps(TREASURE))


def test_a72_a_message_without_headers_or_with_wrong_ones_is_dropped_and_told(attack):
    attack(
        json.dumps({"body": encode([["ds_0"], {}, {}])}),
        *(json.dumps(json.loads(forge()) | {"headers": headers}) for headers in (None, [], "x", {"task": None})),
        json.dumps({"task": tasks.INGEST, "id": "1", "args": ["ds_0"], "kwargs": {}}),  # Celery's first protocol.
    )


def test_a72_an_unknown_task_is_dropped_and_told(attack):
    names = ["os.system", "celery.chord", "celery.backend_cleanup", tasks.TRAIN, TREASURE, "lenet.ingest\n\x1b[31m"]
    attack(*(forge(headers={"task": name}) for name in names))


@pytest.mark.parametrize(
    "content",
    [[], [["ds_0", "ds_1"], {}, {}], [[{"a": 1}], {}, {}], [[TREASURE], {}, {}], {"args": ["ds_0"]}, [["ds_0"], 1, {}]],
)
def test_a72_arguments_that_are_not_one_id_are_dropped_and_told(attack, content):
    attack(forge(body=encode(content)))


def test_a72_fifty_megabytes_are_dropped_and_told(attack):
    assert "it has 50000000 bytes" in attack(b"x" * 50_000_000)


def test_a72_a_body_that_unpacks_to_a_gigabyte_is_not_unpacked(attack):
    bomb = zlib.compress(bytes(2**20), 9)
    attack(forge(body=encode(bomb), headers={"compression": "application/x-gzip"}))


def test_a74_paths_and_options_in_a_message_are_nobody_s(attack):
    attack(forge(body=encode([["ds_0"], {"epochs": 10**9, "archive_key": "../../etc/passwd"}, {}])))


def test_a74_what_headers_ask_for_is_not_done(worker, redis, attack):
    """Such a message counts for a wake-up: nothing was dropped, and nothing that it asks for happens."""
    asked = {
        "eta": "2099-01-01T00:00:00+00:00",
        "timelimit": [0.001, 0.001],
        "reply_to": "canary",
        "compression": "gzip",
        "ignore_result": False,
        "argsrepr": TREASURE,
        "shadow": TREASURE,
    }
    callbacks = [{"task": tasks.INGEST, "args": ["ds_1"], "options": {"queue": "canary"}}]
    body = encode([["ds_0"], {}, {"callbacks": callbacks, "errbacks": callbacks, "chain": callbacks}])
    redis.lpush("ingest", forge(headers=asked, body=body))
    worker.until(lambda: redis.llen("ingest") == 0)
    attack()
    assert not redis.exists("canary")


def test_a72_a_queue_that_is_no_list_hinders_the_worker_no_longer_than_it_stands(worker, redis, attack):
    redis.set("ingest", "no list")
    worker.until(lambda: "Connection to broker lost" in worker.said())
    redis.delete("ingest")
    attack()


@pytest.mark.parametrize("command", ["shutdown", "add_consumer", "cancel_consumer", "pool_shrink", "revoke"])
def test_a76_remote_control_has_no_effect(worker, redis_url, attack, command):
    # A connection out of the app's pool would outlive this test, and hang the processes that later ones fork.
    with Celery(broker=redis_url) as app, app.connection_for_write() as connection:
        arguments = {"queue": "canary", "n": 1, "task_id": "1", "terminate": True}
        assert app.control.broadcast(command, arguments=arguments, reply=True, timeout=1, connection=connection) == []
    attack()


def test_a75_the_worker_needs_no_right_that_it_does_not_have(tmp_path, start_server, free_port):
    (tmp_path / "redis").mkdir()
    (tmp_path / "worker").mkdir()
    with (
        guarded_redis("production", tmp_path / "redis", start=start_server, port=free_port()) as server,
        running_worker(tmp_path / "worker", server.url) as worker,
    ):
        dataset_id = worker.add_dataset()
        CelerySender(server.url).send(WakeUp(tasks.INGEST, tasks.INGEST_QUEUE, dataset_id))
        worker.until(lambda: worker.status(dataset_id) == "rejected")
        assert server.denied() == []
