"""A message from the queue is ours or nothing; what is not ours never reaches Celery."""

import contextlib
import json
import pickle
import zlib
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.domain import tasks
from worker.messages import MOST_BYTES, ForeignMessageError, rebuild

ID = "job_0rzj3w5k2v9"


def encode(value):
    return b64encode(json.dumps(value).encode()).decode()


def message(*, body=None, headers=None, **changes):
    return {
        "body": encode([[ID], {}, {}]) if body is None else body,
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"task": tasks.TRAIN, "id": "1", **(headers or {})},
        "properties": {"body_encoding": "base64", "delivery_tag": "1", "delivery_info": {"exchange": ""}},
        **changes,
    }


def read(raw, queue="cpu"):
    rebuilt = rebuild(raw if isinstance(raw, bytes) else json.dumps(raw).encode(), queue)
    envelope = json.loads(rebuilt)
    return envelope["headers"]["task"], json.loads(b64decode(envelope["body"]))[0]


def test_a_wake_up_is_taken():
    assert read(message()) == (tasks.TRAIN, [ID])


@pytest.mark.parametrize("task", [tasks.SWEEP, tasks.COLLECT])
def test_upkeep_has_no_argument(task):
    assert read(message(headers={"task": task}, body=encode([[], {}, {}])), "ingest") == (task, [])
    with pytest.raises(ForeignMessageError, match="arguments"):
        read(message(headers={"task": task}), "ingest")


ASKS = {"eta": "2099-01-01T00:00:00", "timelimit": [1, 1], "compression": "gzip", "reply_to": "x", "shadow": "\x1b[31m"}


@pytest.mark.parametrize("name", ASKS)
def test_nothing_that_a_header_asks_for_is_taken_over(name):
    rebuilt = rebuild(json.dumps(message(headers={name: ASKS[name]})).encode(), "cpu")
    assert json.dumps(ASKS[name]).encode() not in rebuilt
    assert set(json.loads(rebuilt)["headers"]) == {"lang", "task", "id", "root_id", "retries", "ignore_result"}


def test_callbacks_are_not_taken_over():
    body = encode([[ID], {}, {"callbacks": [{"task": "lenet.collect", "args": []}], "chord": {}}])
    rebuilt = json.loads(rebuild(json.dumps(message(body=body)).encode(), "cpu"))
    assert json.loads(b64decode(rebuilt["body"]))[2] == dict.fromkeys(["callbacks", "errbacks", "chain", "chord"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"content-type": "application/x-python-serialize"}, "media type"),
        ({"content-type": "application/x-yaml"}, "media type"),
        ({"content-encoding": "binary"}, "media type"),
        ({"content-type": None}, "media type"),
        ({"headers": None}, "headers"),
        ({"headers": {}}, "task"),
        ({"headers": {"task": ["lenet.train"]}}, "task"),
        ({"headers": {"task": "celery.backend_cleanup"}}, "task"),
        ({"headers": {"task": tasks.SWEEP}}, "task"),  # Another queue's.
        ({"body": None}, "JSON"),
        ({"body": "*"}, "decoded"),
        ({"body": encode([[], {}, {}])}, "arguments"),
        ({"body": encode([[ID, ID], {}, {}])}, "arguments"),
        ({"body": encode([[1], {}, {}])}, "arguments"),
        ({"body": encode([["../../etc/passwd"], {}, {}])}, "arguments"),
        ({"body": encode([["job_" + "0" * 100], {}, {}])}, "arguments"),
        ({"body": encode([[ID], {"epochs": 9}, {}])}, "arguments"),
        ({"body": encode({"args": [ID], "task": tasks.TRAIN})}, "arguments"),
        ({"body": b64encode(pickle.dumps([[ID], {}, {}])).decode()}, "JSON"),
        ({"body": b64encode(zlib.compress(bytes(5000))).decode()}, "JSON"),
    ],
)
def test_what_is_not_ours_is_refused_with_the_reason(change, reason):
    with pytest.raises(ForeignMessageError, match=reason):
        read({**message(), **change})


@pytest.mark.parametrize(
    "raw",
    [b"", b"no JSON", b"\xff\xfe", b"null", b"[]", b'"text"', b"1" * 5000, b"[" * MOST_BYTES, pickle.dumps({"a": 1})],
)
def test_what_is_no_envelope_is_refused(raw):
    with pytest.raises(ForeignMessageError):
        read(raw)


def test_one_that_is_too_long_is_refused_before_it_is_read():
    with pytest.raises(ForeignMessageError, match="50000000 bytes"):
        read(bytes(50_000_000))


def test_the_reason_repeats_nothing_of_the_message():
    with pytest.raises(ForeignMessageError) as raised:
        read(message(headers={"task": "canary\n\x1b[31m"}))
    assert "canary" not in str(raised.value)


def test_one_whose_time_has_passed_is_gone_without_a_word():
    before, after = datetime.now(UTC) - timedelta(seconds=1), datetime.now(UTC) + timedelta(seconds=60)
    assert rebuild(json.dumps(message(headers={"expires": before.isoformat()})).encode(), "cpu") is None
    assert read(message(headers={"expires": after.isoformat()}))
    assert read(message(headers={"expires": "whenever"}))


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
@given(st.dictionaries(st.sampled_from(["body", "headers", "properties", "content-type", "content-encoding"]), JSON))
def test_whatever_json_comes_it_is_refused_or_rebuilt(change):
    with contextlib.suppress(ForeignMessageError):
        assert read({**message(), **change}) == (tasks.TRAIN, [ID])


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_whatever_bytes_come_they_are_refused(raw):
    with pytest.raises(ForeignMessageError):
        read(raw)
