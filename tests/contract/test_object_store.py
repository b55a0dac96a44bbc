"""What `core.storage.store.ObjectStore` promises, over every store that there is."""

import hashlib
import io
import random
import socket
import time
import tracemalloc
from datetime import timedelta

import pytest

from core import clock
from core.errors import (
    IntegrityError,
    InvalidError,
    ObjectNotFoundError,
    StoreUnavailableError,
    TooLargeError,
    UnreadableError,
)
from core.storage import s3
from core.storage.s3 import PART_BYTES, S3Store

KEY = "tenants/t1/datasets/d1/archive"
MULTIPART = PART_BYTES * 2 + 17


class Body(io.RawIOBase):
    """A body that is made while it is read; after ``good`` bytes it raises, where told to."""

    def __init__(self, length, *, failure=None):
        self.left = length
        self.failure = failure
        self.largest_read = 0

    def read(self, size=-1):
        self.largest_read = max(self.largest_read, size)
        if not self.left and self.failure:
            raise self.failure
        given = min(self.left, 65_536 if size < 0 else size)
        self.left -= given
        return b"\x5a" * given


def put(store, key, content=b"content"):
    return store.put(key, io.BytesIO(content))


def get(store, key, **window):
    with store.open(key, **window) as file:
        return file.read()


def keys(store, prefix=""):
    return [found.key for found in store.list(prefix)]


def assert_nothing_is_stored(store, key=KEY):
    with pytest.raises(ObjectNotFoundError):
        store.stat(key)
    assert keys(store) == []


@pytest.mark.parametrize("size", [0, 1, 70_000, PART_BYTES, PART_BYTES + 1, MULTIPART])
def test_what_is_stored_is_read_back_with_its_size_and_hash(store, size):
    content = random.Random(size).randbytes(size)
    stored = store.put(KEY, io.BytesIO(content), size_bytes=size, max_bytes=size)
    assert (stored.key, stored.size_bytes, stored.sha256) == (KEY, size, hashlib.sha256(content).hexdigest())
    assert get(store, KEY) == content
    assert store.stat(KEY).size_bytes == size


def test_a_body_of_unknown_length_is_stored_whole(store):
    assert store.put(KEY, Body(MULTIPART)).size_bytes == MULTIPART
    assert store.stat(KEY).size_bytes == MULTIPART


def test_a_body_is_stored_from_where_it_stands(store):
    source = io.BytesIO(b"head and rest")
    source.seek(9)
    store.put(KEY, source)
    assert get(store, KEY) == b"rest"


def test_a_file_is_stored(store, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"of this machine")
    assert store.put_file(KEY, path).size_bytes == 15
    assert get(store, KEY) == b"of this machine"


def test_a_file_that_is_missing_is_the_callers_trouble(store, tmp_path):
    with pytest.raises(FileNotFoundError):
        store.put_file(KEY, tmp_path / "none")


@pytest.mark.parametrize("size", [10, MULTIPART])
def test_a_body_cut_short_stores_nothing(store, size):
    with pytest.raises(UnreadableError) as caught:
        store.put(KEY, Body(size), size_bytes=size + 1)
    assert caught.value.code == "body_cut_short"
    assert_nothing_is_stored(store)


@pytest.mark.parametrize("size", [10, MULTIPART])
def test_a_body_that_goes_on_after_its_length_stores_nothing(store, size):
    with pytest.raises(UnreadableError) as caught:
        store.put(KEY, Body(size), size_bytes=size - 1)
    assert caught.value.code == "body_too_long"
    assert_nothing_is_stored(store)


@pytest.mark.parametrize("size", [10, MULTIPART])
def test_a_body_over_the_limit_stores_nothing(store, size):
    with pytest.raises(TooLargeError):
        store.put(KEY, Body(size), max_bytes=size - 1)
    assert_nothing_is_stored(store)


def test_a_body_announced_over_the_limit_is_not_even_read(store):
    body = Body(10)
    with pytest.raises(TooLargeError):
        store.put(KEY, body, size_bytes=10, max_bytes=9)
    assert body.left == 10
    assert_nothing_is_stored(store)


@pytest.mark.parametrize("size", [10, MULTIPART])
@pytest.mark.parametrize("failure", [ConnectionResetError("client went"), FileNotFoundError("gone"), ValueError("bad")])
def test_a_source_that_fails_stores_nothing_and_its_error_comes_through(store, size, failure):
    with pytest.raises(type(failure)) as caught:
        store.put(KEY, Body(size, failure=failure))
    assert caught.value is failure
    assert_nothing_is_stored(store)


def test_a_failed_overwrite_leaves_what_was_there(store):
    put(store, KEY, b"first")
    with pytest.raises(UnreadableError):
        store.put(KEY, Body(MULTIPART), size_bytes=MULTIPART + 1)
    assert get(store, KEY) == b"first"


def test_overwriting_replaces(store):
    put(store, KEY, b"a longer first")
    put(store, KEY, b"second")
    assert get(store, KEY) == b"second"
    assert [found.size_bytes for found in store.list()] == [6]


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [
        (0, 3, b"012"),
        (3, 4, b"3456"),
        (4, None, b"456789"),
        (8, 50, b"89"),
        (9, 1, b"9"),
        (10, None, b""),
        (10, 1, b""),
        (99, 5, b""),
        (0, 0, b""),
        (0, None, b"0123456789"),
    ],
)
def test_a_range_is_read(store, offset, length, expected):
    put(store, KEY, b"0123456789")
    assert get(store, KEY, offset=offset, length=length) == expected


def test_a_range_is_read_in_pieces(store):
    put(store, KEY, b"0123456789")
    with store.open(KEY, offset=2, length=5) as file:
        assert [file.read(2), file.read(2), file.read(2), file.read(2)] == [b"23", b"45", b"6", b""]


def test_a_range_across_parts_is_read(store):
    content = random.Random(1).randbytes(MULTIPART)
    put(store, KEY, content)
    assert get(store, KEY, offset=PART_BYTES - 3, length=10) == content[PART_BYTES - 3 : PART_BYTES + 7]


@pytest.mark.parametrize("window", [{"offset": -1}, {"length": -1}])
def test_a_negative_range_is_refused(store, window):
    put(store, KEY)
    with pytest.raises(ValueError, match="must not be negative"):
        get(store, KEY, **window)


def test_an_object_that_is_left_half_read_can_be_read_again(store):
    content = random.Random(2).randbytes(MULTIPART)
    put(store, KEY, content)
    with store.open(KEY) as file:
        assert file.read(4) == content[:4]
    assert get(store, KEY) == content


def test_a_readers_own_error_comes_through(store):
    put(store, KEY)
    with pytest.raises(ZeroDivisionError), store.open(KEY):
        _ = 1 / 0


def test_a_missing_object_is_said_to_be_missing(store, tmp_path):
    for ask in (store.stat, lambda key: get(store, key), lambda key: get(store, key, length=0)):
        with pytest.raises(ObjectNotFoundError):
            ask(KEY)
    with pytest.raises(ObjectNotFoundError):
        store.fetch(KEY, tmp_path / "file")
    assert not (tmp_path / "file").exists()
    assert store.local_path(KEY) is None


def test_a_prefix_is_no_object(store):
    put(store, KEY)
    for ask in (store.stat, lambda key: get(store, key)):
        with pytest.raises(ObjectNotFoundError):
            ask("tenants/t1/datasets")
    assert store.local_path("tenants/t1/datasets") is None


@pytest.mark.parametrize("name", ["folder", "memory", "moto"])  # rclone answers 500, as its prefixes are folders
def test_deleting_a_prefix_as_an_object_deletes_nothing(open_store, name):
    with open_store(name) as store:
        store.check()
        put(store, KEY)
        store.delete("tenants/t1/datasets")
        assert keys(store) == [KEY]


def test_fetch_writes_a_file(store, tmp_path):
    stored = put(store, KEY, b"fetched")
    target = tmp_path / "fetched" / "file"
    target.parent.mkdir()
    store.fetch(KEY, target, sha256=stored.sha256)
    assert target.read_bytes() == b"fetched"
    assert list(target.parent.iterdir()) == [target]


def test_fetch_of_bytes_with_another_hash_leaves_nothing(store, tmp_path):
    put(store, KEY)
    target = tmp_path / "fetched" / "file"
    target.parent.mkdir()
    with pytest.raises(IntegrityError):
        store.fetch(KEY, target, sha256="0" * 64)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("size_bytes", [0, 6, 8, 10**12])
def test_fetch_of_more_or_fewer_bytes_than_were_recorded_leaves_nothing(store, tmp_path, size_bytes):
    stored = put(store, KEY, b"fetched")
    with pytest.raises(IntegrityError):
        store.fetch(KEY, tmp_path / "file", sha256=stored.sha256, size_bytes=size_bytes)
    assert list(tmp_path.iterdir()) in ([], [tmp_path / "store"])
    store.fetch(KEY, tmp_path / "file", sha256=stored.sha256, size_bytes=stored.size_bytes)
    assert (tmp_path / "file").read_bytes() == b"fetched"


def test_fetch_that_fails_leaves_the_file_that_was_there(store, tmp_path):
    put(store, KEY)
    target = tmp_path / "file"
    target.write_bytes(b"before")
    with pytest.raises(IntegrityError):
        store.fetch(KEY, target, sha256="0" * 64)
    assert target.read_bytes() == b"before"


def test_fetch_into_a_folder_that_is_missing_is_the_callers_trouble(store, tmp_path):
    put(store, KEY)
    with pytest.raises(FileNotFoundError):
        store.fetch(KEY, tmp_path / "none" / "file")


def test_list_yields_what_lies_under_a_prefix_in_the_order_of_keys(store):
    stored = sorted(["a/b", "a-b/c", "a.b", "a/b-c/d", "a/bc/d", "b/c/d"])
    for key in reversed(stored):
        put(store, key)
    assert keys(store) == stored
    assert keys(store, "a") == keys(store, "a/") == ["a/b", "a/b-c/d", "a/bc/d"]
    assert keys(store, "a/b") == keys(store, "none") == []


def test_list_tells_size_and_time(store):
    put(store, KEY, b"12345")
    (found,) = store.list()
    assert found.size_bytes == 5
    for moment in (found.modified_at, store.stat(KEY).modified_at):
        assert moment.utcoffset() == timedelta(0)
        assert abs(moment - clock.now()) < timedelta(minutes=1)


def test_delete_takes_one_object_and_may_be_repeated(store):
    put(store, "a/b")
    put(store, "a/c")
    store.delete("a/b")
    store.delete("a/b")
    assert keys(store) == ["a/c"]


def test_delete_prefix_leaves_siblings(store):
    for key in ("jobs/1/a1/x", "jobs/1/a2/y", "jobs/12/x", "jobs/1-x", "other/1/x"):
        put(store, key)
    store.delete_prefix("jobs/1")
    assert keys(store) == ["jobs/1-x", "jobs/12/x", "other/1/x"]
    store.delete_prefix("jobs/1/")
    store.delete_prefix("none")
    assert keys(store) == ["jobs/1-x", "jobs/12/x", "other/1/x"]


def test_delete_prefix_of_an_object_leaves_it(store):
    put(store, "jobs/1")
    store.delete_prefix("jobs/1")
    assert keys(store) == ["jobs/1"]


@pytest.mark.parametrize("prefix", ["", "/"])
def test_delete_prefix_refuses_the_whole_store(store, prefix):
    put(store, KEY)
    with pytest.raises(ValueError, match="empty"):
        store.delete_prefix(prefix)
    assert keys(store) == [KEY]


def test_a_deleted_prefix_can_be_written_again(store):
    put(store, KEY)
    store.delete_prefix("tenants/t1")
    put(store, KEY, b"anew")
    assert get(store, KEY) == b"anew"


@pytest.mark.parametrize(
    "key",
    ["../x", "a/../b", "a/..", "/a", "a/", "a//b", ".", "a/.partial", "A", "a\n", "a b", "", "ä", "a/" + "x" * 256],
)
def test_a_key_that_could_leave_the_store_is_refused(store, key, tmp_path):
    asks = (
        lambda: put(store, key),
        lambda: store.put_file(key, tmp_path / "file"),
        lambda: get(store, key),
        lambda: store.fetch(key, tmp_path / "fetched"),
        lambda: store.stat(key),
        lambda: store.delete(key),
        lambda: store.local_path(key),
    )
    (tmp_path / "file").write_bytes(b"1")
    for ask in asks:
        with pytest.raises(InvalidError) as caught:
            ask()
        assert caught.value.code == "invalid_key"
    assert keys(store) == []


@pytest.mark.parametrize("prefix", ["..", "a/../..", "/etc"])
def test_a_prefix_that_could_leave_the_store_is_refused(store, prefix):
    for ask in (lambda: keys(store, prefix), lambda: store.delete_prefix(prefix)):
        with pytest.raises(InvalidError):
            ask()


def test_a_store_can_be_checked_twice_and_used_after_it_was_closed(store):
    store.check()
    put(store, KEY)
    store.close()
    store.check()
    assert get(store, KEY) == b"content"


def test_no_more_than_a_megabyte_of_a_body_is_asked_for_at_once(store):
    body = Body(MULTIPART)
    store.put(KEY, body)
    assert 0 < body.largest_read <= 2**20


@pytest.mark.parametrize("name", ["folder", "rclone"])  # the others keep objects in this process
def test_memory_stays_flat_whatever_the_size(open_store, name, tmp_path):
    size = 48 * 2**20
    with open_store(name) as store:
        store.check()
        tracemalloc.start()
        try:
            stored = store.put(KEY, Body(size), size_bytes=size)
            store.fetch(KEY, tmp_path / "fetched", sha256=stored.sha256)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert (tmp_path / "fetched").stat().st_size == size
    assert peak < 32 * 2**20


@pytest.mark.parametrize("name", ["memory", "moto", "rclone"])
def test_a_store_elsewhere_has_no_local_path(open_store, name):
    with open_store(name) as store:
        store.check()
        put(store, KEY)
        assert store.local_path(KEY) is None


# What only S3 can meet.

ASKS = {
    "check": S3Store.check,
    "put": lambda store: put(store, KEY),
    "open": lambda store: get(store, KEY),
    "stat": lambda store: store.stat(KEY),
    "delete": lambda store: store.delete(KEY),
    "delete_prefix": lambda store: store.delete_prefix("tenants"),
    "list": keys,
}


@pytest.fixture(params=ASKS)
def ask(request):
    return ASKS[request.param]


@pytest.fixture
def elsewhere():
    """Return a function that opens an S3 store on a port; it is closed after the test."""
    opened = []

    def opened_on(port, **named):
        keys = {"access_key": "any", "secret_key": "any"}
        opened.append(S3Store("bucket", endpoint=f"127.0.0.1:{port}", secure=False, **keys, **named))
        return opened[-1]

    yield opened_on
    for store in opened:
        store.close()


def test_a_server_that_is_down_is_unavailable_within_seconds(elsewhere, free_port, ask):
    began = time.monotonic()
    with pytest.raises(StoreUnavailableError):
        ask(elsewhere(free_port()))
    assert time.monotonic() - began < 5


def test_a_server_that_says_nothing_is_unavailable_after_its_time(elsewhere, ask):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = elsewhere(silent.getsockname()[1], answer_seconds=0.3)
        began = time.monotonic()
        with pytest.raises(StoreUnavailableError, match="does not answer"):
            ask(store)
        assert time.monotonic() - began < 2


def test_a_silent_server_is_given_up_within_about_five_seconds_by_default(elsewhere):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(StoreUnavailableError):
            elsewhere(silent.getsockname()[1]).check()
        assert time.monotonic() - began < 5.5


@pytest.mark.parametrize("name", ["moto", "rclone"])
@pytest.mark.parametrize("what", ["put", "list"])
def test_a_bucket_that_is_missing_is_no_missing_object(open_store, name, what):
    with open_store(name) as store, pytest.raises(StoreUnavailableError, match=r"(?i)bucket"):
        ASKS[what](store)


def test_a_wrong_secret_is_refused(rclone_server, ask):
    with rclone_server.store(secret_key="wrong") as store, pytest.raises(StoreUnavailableError, match="refuses"):
        ask(store)


def test_a_refusal_tells_no_secret(rclone_server):
    with rclone_server.store(secret_key="hunter2-hunter2") as store, pytest.raises(StoreUnavailableError) as caught:
        store.check()
    assert "hunter2" not in str(caught.value)
    assert "127.0.0.1" not in str(caught.value)


@pytest.mark.parametrize("name", ["moto", "rclone"])
def test_a_cut_body_leaves_no_open_upload(open_store, name):
    with open_store(name) as store:
        store.check()
        with pytest.raises(UnreadableError):
            store.put(KEY, Body(MULTIPART), size_bytes=MULTIPART + 1)
        assert open_uploads(store) == 0


def open_uploads(store):
    return len(store._client._list_multipart_uploads(store._bucket, delimiter=s3._IN_NO_KEY).uploads)


@pytest.mark.parametrize("name", ["moto", "rclone"])
def test_an_upload_that_its_writer_left_open_is_given_up_in_time(open_store, name, monkeypatch):
    with open_store(name) as store:
        store.check()
        store.clear_abandoned()  # there is none
        store._client._create_multipart_upload(store._bucket, KEY, {})
        monkeypatch.setattr(s3, "_ABANDONED_AFTER", timedelta(days=36_500))  # moto's began in 2010
        store.clear_abandoned()
        assert open_uploads(store) == 1
        monkeypatch.setattr(s3, "_ABANDONED_AFTER", timedelta(seconds=-60))
        store.clear_abandoned()
        assert open_uploads(store) == 0
