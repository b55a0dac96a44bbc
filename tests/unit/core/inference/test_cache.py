import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from core.errors import ObjectNotFoundError
from core.inference.cache import ModelCache, _estimate
from core.inference.predictor import Predictor


class Store:
    """Counts how often each model is loaded."""

    def __init__(self, model):
        self.model, self.loads = model, []

    def loader(self, key):
        def load():
            self.loads.append(key)
            return self.model

        return load


@pytest.fixture
def store(model):
    return Store(model)


@pytest.fixture
def size(model):
    return _estimate(Predictor(model))


def test_a_model_is_loaded_once(store, size):
    cache = ModelCache(size)
    assert cache.get("a", store.loader("a")) is cache.get("a", store.loader("a"))
    assert store.loads == ["a"]


def test_the_least_recently_used_goes_first(store, size):
    cache = ModelCache(2 * size)
    for key in ("a", "b", "a", "c", "a", "b"):
        cache.get(key, store.loader(key))
    assert store.loads == ["a", "b", "c", "b"]
    assert cache.used_bytes == 2 * size


def test_a_model_larger_than_the_cache_is_not_kept(store, size):
    cache = ModelCache(size - 1)
    for _ in range(2):
        assert cache.get("a", store.loader("a")).classes == ("ant", "bee", "cat")
    assert store.loads == ["a", "a"]
    assert cache.used_bytes == 0


def test_a_dropped_model_is_loaded_again(store, size):
    cache = ModelCache(size)
    cache.get("a", store.loader("a"))
    cache.drop("a")
    cache.drop("never there")
    assert cache.used_bytes == 0
    cache.get("a", store.loader("a"))
    assert store.loads == ["a", "a"]


def test_threads_that_ask_at_once_load_once(store, size):
    cache = ModelCache(size)
    barrier = threading.Barrier(8)

    def load():
        time.sleep(0.05)
        return store.loader("a")()

    def ask(_):
        barrier.wait()
        return cache.get("a", load)

    with ThreadPoolExecutor(8) as threads:
        assert len({id(predictor) for predictor in threads.map(ask, range(8))}) == 1
    assert store.loads == ["a"]


def test_a_failed_load_is_told_and_tried_again(store, size):
    cache = ModelCache(size)

    def missing():
        raise ObjectNotFoundError("gone")

    with pytest.raises(ObjectNotFoundError):
        cache.get("a", missing)
    assert cache.get("a", store.loader("a")).classes


def test_a_load_of_one_model_does_not_hold_up_another(store, size):
    cache = ModelCache(2 * size)
    started, go_on = threading.Event(), threading.Event()

    def slow():
        started.set()
        assert go_on.wait(10)
        return store.model

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(cache.get, "slow", slow)
        assert started.wait(10)
        cache.get("quick", store.loader("quick"))
        go_on.set()
        assert waiting.result(10).classes


def test_what_it_loads_computes_with_its_threads(store, size):
    predictor = ModelCache(size, threads=2).get("a", store.loader("a"))
    assert predictor._session.get_session_options().intra_op_num_threads == 2
