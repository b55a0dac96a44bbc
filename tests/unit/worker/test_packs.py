"""One maker of a pack at a time on a host."""

from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from types import SimpleNamespace

import pytest

from worker.packs import one_maker


@pytest.fixture
def host(tmp_path):
    return SimpleNamespace(settings=SimpleNamespace(cache_dir=tmp_path))


def _wait():
    pass


def test_one_at_a_time_makes_a_pack_and_nothing_is_left_of_the_lock(host, tmp_path):
    makes = Lock()

    def make(_):
        with one_maker(host, "ds_1-28-grayscale", _wait):
            assert makes.acquire(blocking=False), "somebody else makes it, too"
            makes.release()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(make, range(200)))
    assert list((tmp_path / "making").iterdir()) == []


def test_a_lock_of_another_pack_keeps_nobody_waiting(host):
    with one_maker(host, "ds_1-28-grayscale", _wait), one_maker(host, "ds_1-32-grayscale", _wait):
        pass


def test_the_lock_goes_with_whoever_failed(host, tmp_path):
    with pytest.raises(OSError, match="full"), one_maker(host, "ds_1-28-grayscale", _wait):
        raise OSError("the disk is full")
    assert list((tmp_path / "making").iterdir()) == []


class GivenUpError(Exception):
    pass


def test_whoever_waits_for_a_maker_that_never_ends_may_give_up(host):
    def give_up():
        raise GivenUpError

    with (
        one_maker(host, "ds_1-28-grayscale", _wait),
        pytest.raises(GivenUpError),
        one_maker(host, "ds_1-28-grayscale", give_up),
    ):
        pass
