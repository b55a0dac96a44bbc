import threading
from contextlib import contextmanager

import pytest

from bench.platform import BenchError
from bench.recovery import Outcome, Plan, _figures, _try, judge
from bench.recovery_sides import Deployment, Side, Work
from bench.steps import Step

WORK = Work(steps=3, seconds=1.0)
PLAN = Plan(WORK, (0.0, 0.0), watch_seconds=0.0)


def test_a_job_that_comes_back_is_judged_by_what_it_wrote():
    steps = [Step("a", 1, 1, 1.0), Step("a", 1, 2, 2.0), *(Step("b", 2, number, 30.0 + number) for number in (1, 2, 3))]

    assert judge(steps, WORK, 2.5, killed="a") == Outcome(gap=28.5, repeated=2, at_once=1, done=True)


def test_a_job_that_does_not_come_back_has_no_gap_and_is_not_done():
    assert judge([Step("a", 1, 1, 1.0)], WORK, 2.5, killed="a") == Outcome(None, 0, 1, done=False)


def test_a_step_that_was_on_its_way_when_the_kill_came_is_not_the_next_one():
    assert judge([Step("a", 1, 1, 1.0), Step("a", 1, 2, 2.51)], WORK, 2.5, killed="a").gap is None


def test_the_time_watched_is_listed_for_what_did_not_come_back():
    outcomes = [Outcome(None, 0, 1, done=False), Outcome(40.0, 2, 1, done=True)]

    gap, repeated, at_once, lost = _figures("RQ", outcomes, Plan(WORK, (0, 1), 900.0))

    assert gap.sample.values == (900.0, 40.0)
    assert "1 of 2 not within 900 s" in gap.name
    assert repeated.sample.high == 2
    assert at_once.sample.high == 1
    assert lost.sample.values == (1.0,)


def test_a_job_whose_process_is_on_no_host_ends_the_benchmark():
    @contextmanager
    def opened(_):
        yield Deployment(hosts=[], send=lambda: None, steps=lambda: [Step("a", 1, 1, 0.0)])

    with pytest.raises(BenchError, match="no host"):
        _try(Side("none", opened), PLAN, 0.0, threading.Event())


class FakeHost:
    killed = False

    def runs(self, pid):
        return pid == 7

    def kill(self):
        self.killed = True


def test_the_host_that_is_killed_is_the_one_on_which_the_job_runs():
    wrong, right = FakeHost(), FakeHost()
    wrong.runs = lambda _: False

    @contextmanager
    def opened(_):
        yield Deployment(hosts=[wrong, right], send=lambda: None, steps=lambda: [Step("a", 7, 1, 0.0)])

    outcome = _try(Side("two", opened), PLAN, 0.0, threading.Event())

    assert (wrong.killed, right.killed, outcome.done) == (False, True, False)
