import pytest

from core.domain.placement import WANTS, choose_queue, choose_want, list_live_queues, list_queues, list_wants
from core.domain.training_config import resolve

BOTH, NUMPY = ("torch", "numpy"), ("numpy",)
KINDS = [("cpu", BOTH), ("cuda", BOTH), ("cpu", NUMPY)]


def can_train(device, engines, config):
    """Say it in other words than the table."""
    if config.engine not in engines:
        return False
    return config.device in ("auto", device) if config.engine == "torch" else device == "cpu"


@pytest.mark.parametrize(("device", "engines"), KINDS)
@pytest.mark.parametrize(
    "raw", [{}, {"device": "cpu"}, {"device": "cuda"}, {"engine": "numpy"}, {"engine": "numpy", "device": "cpu"}]
)
def test_a_worker_takes_what_it_can_train_and_hears_of_nothing_else(device, engines, raw):
    config = resolve(raw)
    want, queue = choose_want(config), choose_queue(device, engines)
    assert (want in list_wants(queue)) == can_train(device, engines, config)
    assert (queue in list_queues(want)) == can_train(device, engines, config)


@pytest.mark.parametrize(
    ("want", "live", "queues"),
    [
        ("cpu", {"cpu", "gpu", "numpy"}, ["cpu"]),
        ("gpu", {"cpu", "numpy"}, ["gpu"]),
        ("auto", {"cpu", "numpy"}, ["cpu"]),
        ("auto", {"gpu"}, ["gpu", "cpu"]),
        ("numpy", {"cpu", "gpu"}, ["cpu"]),
        ("numpy", {"numpy", "cpu"}, ["numpy", "cpu"]),
        ("numpy", set(), ["cpu"]),
    ],
)
def test_a_job_is_announced_to_each_kind_of_worker_that_can_train_it(want, live, queues):
    assert list_live_queues(want, live) == queues


@pytest.mark.parametrize("want", WANTS)
def test_no_job_is_announced_where_nobody_could_train_it(want):
    for live in ({"cpu"}, {"gpu"}, {"numpy"}, {"cpu", "gpu", "numpy"}):
        assert all(want in list_wants(queue) for queue in list_live_queues(want, live))
