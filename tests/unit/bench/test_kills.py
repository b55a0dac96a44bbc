import random
import threading

from bench.figures import Sample
from bench.kills import Kill, Tally, _figures


def tally(**changes):
    fields = {"kinds": [], "draw": random.Random(1), "kills": [], "weights": [], "lock": threading.Lock()}
    return Tally(**{**fields, **changes})


KILLS = [Kill("trainer", 1.0, 2), Kill("worker", 30.0, 11), Kill("host", 61.0, 13)]


def figures(kills, weights):
    return {
        figure.goal.number: figure for figure in _figures(tally(kills=kills, weights=weights), "whole") if figure.goal
    }


def test_a_kill_that_met_nothing_is_done_another_time():
    plan = tally(kinds=["host"])
    kind, share = plan.take()
    assert plan.take() is None

    plan.give_back(kind)

    assert 0 <= share < 1
    assert plan.take()[0] == "host"


def test_one_kill_beyond_a_minute_is_told():
    assert not figures(KILLS, ["whole"])[32].reached
    assert figures(KILLS[:2], ["whole"])[32].reached


def test_more_than_a_checkpoint_interval_done_again_is_told():
    assert not figures(KILLS, ["whole"])[33].reached


def test_one_model_that_differs_is_told():
    assert figures(KILLS, ["whole", "whole"])[34].reached
    assert not figures(KILLS, ["whole", "other"])[34].reached


def test_a_percentile_is_a_value_that_was_measured():
    sample = Sample(tuple(float(value) for value in range(1, 101)))

    assert (sample.percentile(95), sample.percentile(100), sample.percentile(0)) == (95.0, 100.0, 1.0)
    assert Sample((3.0,)).percentile(99) == 3.0
