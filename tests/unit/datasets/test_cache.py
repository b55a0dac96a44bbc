import hashlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from core.datasets.cache import PackCache
from core.errors import IntegrityError


def content_of(number, size=100):
    return bytes([number]) * size


def digest_of(number, size=100):
    return hashlib.sha256(content_of(number, size)).hexdigest()


class Store:
    """Gives packs out and counts how often."""

    def __init__(self):
        self.fetched = []

    def fetch(self, number, size=100):
        def write(path):
            self.fetched.append(number)
            path.write_bytes(content_of(number, size))

        return write


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def cache(tmp_path):
    return PackCache(tmp_path / "packs", 250)


def kept(tmp_path):
    return {path.stem for path in (tmp_path / "packs").glob("*.pack")}


def test_a_pack_is_fetched_once_and_then_found(cache, store):
    for _ in range(3):
        with cache.use(digest_of(1), store.fetch(1)) as path:
            assert path.read_bytes() == content_of(1)
    assert store.fetched == [1]


def test_the_least_recently_used_goes_first(cache, store, tmp_path):
    for tick, number in enumerate([1, 2, 1, 3]):
        with cache.use(digest_of(number), store.fetch(number)) as path:
            os.utime(path, (tick, tick))
    assert kept(tmp_path) == {digest_of(1), digest_of(3)}
    assert not (tmp_path / "packs" / f"{digest_of(2)}.lock").exists()


def test_a_pack_in_use_stays_even_above_the_bound(cache, store, tmp_path):
    with cache.use(digest_of(1), store.fetch(1)) as first:
        for number in (2, 3, 4):
            with cache.use(digest_of(number), store.fetch(number)):
                assert first.exists()
    assert digest_of(1) in kept(tmp_path)


def test_a_pack_larger_than_the_bound_serves_and_goes(cache, store, tmp_path):
    with cache.use(digest_of(1, 1000), store.fetch(1, 1000)) as path:
        assert path.stat().st_size == 1000
    assert kept(tmp_path) == set()


def test_what_was_fetched_is_verified(cache, store, tmp_path):
    with pytest.raises(IntegrityError), cache.use(digest_of(1), store.fetch(2)):
        pass
    assert kept(tmp_path) == set()
    assert not list((tmp_path / "packs").glob("*.part"))
    with cache.use(digest_of(1), store.fetch(1)):
        pass


@pytest.mark.parametrize("content", [b"", content_of(1, 99), content_of(2)], ids=["empty", "cut short", "altered"])
def test_a_pack_that_the_disk_has_spoilt_is_fetched_anew(cache, store, content):
    for _ in range(2):
        with cache.use(digest_of(1), store.fetch(1)) as path:
            assert path.read_bytes() == content_of(1)
        path.write_bytes(content)
    assert store.fetched == [1, 1]


def test_a_pack_that_was_spoilt_before_this_process_began_is_fetched_anew(cache, store, tmp_path):
    (tmp_path / "packs").mkdir()
    (tmp_path / "packs" / f"{digest_of(1)}.pack").write_bytes(content_of(2))
    with cache.use(digest_of(1), store.fetch(1)) as path:
        assert path.read_bytes() == content_of(1)


def test_a_spoilt_pack_is_not_taken_from_those_who_use_it(cache, store):
    with cache.use(digest_of(1), store.fetch(1)) as path:
        path.write_bytes(content_of(2))
        with pytest.raises(IntegrityError, match="others use it"), cache.use(digest_of(1), store.fetch(1)):
            pass
        assert path.exists()
    with cache.use(digest_of(1), store.fetch(1)) as path:
        assert path.read_bytes() == content_of(1)


def test_a_pack_is_read_through_once_in_each_process(cache, store, tmp_path, monkeypatch):
    with cache.use(digest_of(1), store.fetch(1)):
        pass
    other, read = PackCache(tmp_path / "packs", 250), []
    monkeypatch.setattr("core.datasets.cache.digest_of", lambda path: read.append(path) or digest_of(1))
    for each in (cache, other, cache, other):
        with each.use(digest_of(1), store.fetch(1)):
            pass
    assert len(read) == 1


class GivenUpError(Exception):
    pass


def test_whoever_waits_for_a_fetch_that_never_ends_may_give_up(cache, store):
    """As where the process that fetches is frozen."""
    begun, ended, looks = threading.Event(), threading.Event(), []

    def fetch(path):
        begun.set()
        ended.wait()
        store.fetch(1)(path)

    def use():
        with cache.use(digest_of(1), fetch):
            pass

    def check():
        looks.append(1)
        if len(looks) == 3:
            raise GivenUpError

    fetching = threading.Thread(target=use)
    fetching.start()
    begun.wait()
    with pytest.raises(GivenUpError), cache.use(digest_of(1), store.fetch(1), check=check):
        pass
    ended.set()
    fetching.join()
    assert store.fetched == [1]


def test_a_failed_fetch_leaves_nothing_and_the_next_one_tries_again(cache, store, tmp_path):
    def fail(path):
        path.write_bytes(b"half")
        raise ConnectionError

    with pytest.raises(ConnectionError), cache.use(digest_of(1), fail):
        pass
    assert not list((tmp_path / "packs").glob("*.part"))
    with cache.use(digest_of(1), store.fetch(1)):
        pass
    assert store.fetched == [1]


def test_many_threads_that_ask_at_once_cause_one_fetch(cache, tmp_path):
    fetched, used = [], []
    barrier = threading.Barrier(8)

    def fetch(path):
        fetched.append(path)
        time.sleep(0.05)
        path.write_bytes(content_of(1))

    def use():
        barrier.wait()
        with cache.use(digest_of(1), fetch) as path:
            used.append(path.read_bytes())

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fetched) == 1
    assert used == [content_of(1)] * 8


_USER = """
import sys
from pathlib import Path
from core.datasets.cache import PackCache
def fetch(path):
    path.write_bytes(bytes([1]) * 100)
with PackCache(Path(sys.argv[1]), 250).use(sys.argv[2], fetch):
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_another_process_keeps_a_pack_in_use_until_it_dies(cache, store, tmp_path):
    command = [sys.executable, "-c", _USER, str(tmp_path / "packs"), digest_of(1)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        for number in (2, 3, 4):
            with cache.use(digest_of(number), store.fetch(number)):
                pass
        assert digest_of(1) in kept(tmp_path)
        process.send_signal(signal.SIGKILL)
        process.wait()
    for number in (5, 6):
        with cache.use(digest_of(number), store.fetch(number)):
            pass
    assert digest_of(1) not in kept(tmp_path)


@pytest.mark.parametrize("name", ["{}.part", ".{}.part.0123456789abcdef"], ids=["fetched", "being fetched"])
def test_parts_that_a_killed_process_left_are_swept(cache, store, tmp_path, name):
    (tmp_path / "packs").mkdir()
    stale = tmp_path / "packs" / name.format(digest_of(9))
    stale.write_bytes(bytes(500))
    os.utime(stale, (1, 1))
    with cache.use(digest_of(1), store.fetch(1)):
        pass
    assert {path.name for path in (tmp_path / "packs").iterdir()} == {f"{digest_of(1)}.pack", f"{digest_of(1)}.lock"}


@pytest.mark.parametrize("digest", ["../../etc/passwd", "", "A" * 64, "a" * 63])
def test_a_digest_is_never_a_path(digest, cache, store):
    with pytest.raises(ValueError, match="64"), cache.use(digest, store.fetch(1)):
        pass
