"""A75: Redis answers nobody without the password, and the platform's user nothing but what the platform needs."""

import re

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError
from security.redis_servers import PRODUCTION, guarded_redis

from api.queue import CelerySender
from api.rates import Rates, open_redis
from core.domain.tasks import CPU_QUEUE, TRAIN
from core.services.messages import WakeUp
from embedded.redis_server import RIGHTS

FORBIDDEN = [
    ("EVAL", "return 1", "0"),
    ("EVALSHA", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db", "0"),
    ("SCRIPT", "LOAD", "return 1"),
    ("FUNCTION", "LIST"),
    ("FCALL", "f", "0"),
    ("CONFIG", "GET", "*"),
    ("CONFIG", "SET", "dir", "/"),
    ("FLUSHALL",),
    ("FLUSHDB",),
    ("SWAPDB", "0", "1"),
    ("KEYS", "*"),
    ("SCAN", "0"),
    ("DEL", "cpu"),
    ("SET", "cpu", "1"),
    ("GET", "cpu"),
    ("SET", "celery", "1"),
    ("LPUSH", "requests/x", "1"),
    ("RENAME", "cpu", "gpu"),
    ("EXPIRE", "cpu", "1"),
    ("LRANGE", "cpu", "0", "-1"),
    ("LPUSH", "celery", "1"),
    ("LPUSH", "unacked", "1"),
    ("PUBLISH", "/0.celery.pidbox", "1"),
    ("SUBSCRIBE", "x"),
    ("ACL", "LIST"),
    ("ACL", "SETUSER", "lenet", "+@all"),
    ("CLIENT", "LIST"),
    ("CLIENT", "KILL", "TYPE", "normal"),
    ("MONITOR",),
    ("INFO",),
    ("SHUTDOWN", "NOSAVE"),
    ("REPLICAOF", "127.0.0.1", "1"),
    ("SAVE",),
    ("BGREWRITEAOF",),
    ("MIGRATE", "127.0.0.1", "1", "cpu", "0", "100"),
    ("DUMP", "cpu"),
]


@pytest.fixture(scope="module", params=["embedded", "production"])
def server(request, tmp_path_factory, start_server, free_port):
    folder = tmp_path_factory.mktemp(request.param)
    with guarded_redis(request.param, folder, start=start_server, port=free_port()) as running:
        yield running


@pytest.fixture
def own(server):
    with Redis.from_url(server.url) as connection:
        yield connection


def test_a75_nobody_gets_in_without_the_password(server):
    for named in ({}, {"password": "wrong"}, {"username": "lenet", "password": "wrong"}, {"username": "lenet"}):
        with Redis(port=server.port, **named) as link, pytest.raises((AuthenticationError, NoPermissionError)):
            link.ping()


@pytest.mark.parametrize("command", FORBIDDEN, ids=" ".join)
def test_a75_the_platform_s_user_may_not(own, command):
    with pytest.raises(NoPermissionError):
        own.execute_command(*command)


@pytest.mark.parametrize("command", [("DEBUG", "JMAP"), ("MODULE", "LOAD", "/tmp/x.so")], ids=" ".join)
def test_a75_nobody_may(server, command):
    with pytest.raises(ResponseError, match="not allowed"):
        server.admin.execute_command(*command)


def test_a75_a_wake_up_goes_through_and_nothing_of_it_is_refused(server):
    server.denied()
    sender = CelerySender(server.url)
    sender.check()
    sender.send(WakeUp(TRAIN, CPU_QUEUE, "job_0"))
    assert sender.depth(CPU_QUEUE) == 1
    assert server.denied() == []


@pytest.mark.parametrize("kind", ["requests", "guesses", "refusals"])
def test_a75_requests_can_be_counted(own, kind):
    with own.pipeline(transaction=True) as pipeline:
        pipeline.set(f"{kind}/x/60/1/minute", 0, ex=60, nx=True)
        pipeline.incrby(f"{kind}/x/60/1/minute", 3)
        assert pipeline.execute() == [True, 3]
    assert own.get(f"{kind}/x/60/1/minute") == b"3"
    assert 0 < own.pttl(f"{kind}/x/60/1/minute") <= 60_000


def test_a72_fifty_megabytes_are_refused_before_they_are_kept(server, own):
    with pytest.raises((RedisError, OSError)):
        own.lpush("cpu", bytes(50_000_000))
    assert server.admin.info("memory")["used_memory"] < 20_000_000


def test_production_gives_the_rights_that_the_embedded_start_gives():
    (line,) = re.findall(r"^user lenet on #PASSWORD_SHA256 (.*)$", PRODUCTION.read_text(), flags=re.MULTILINE)
    assert line == RIGHTS


def test_the_password_s_hash_alone_is_in_the_configuration(server):
    assert re.fullmatch(r"redis://lenet:[\w-]{32}@127\.0\.0\.1:\d+/0", server.url)
    users = server.admin.execute_command("ACL", "LIST")
    assert server.url.split(":")[2].partition("@")[0] not in str(users)


def test_a75_the_counters_of_requests_are_refused_nothing(server):
    server.denied()
    rates = Rates(open_redis(server.url))
    for kind in ("requests", "guesses", "refusals"):
        assert rates.take(kind, "somebody", 60) is None
        assert rates.count(kind, "somebody", 60) == 1
    assert server.denied() == []
