from datetime import UTC, datetime, timedelta

import pytest

from bench.figures import Sample
from bench.platform import BenchError
from bench.time_to_accuracy import measure_jobs
from client.types import Job, Metrics

START = datetime(2026, 1, 1, tzinfo=UTC)


def job(accuracy: float | None, seconds: float = 6.0) -> Job:
    metrics = None if accuracy is None else Metrics(test_accuracy=accuracy)
    ended = START + timedelta(seconds=seconds)
    return Job(id="job", status="succeeded", metrics=metrics, started_at=START, finished_at=ended, parameters=61_750)


def test_the_share_counts_the_seeds_that_are_accurate_enough():
    figures = measure_jobs([job(0.9901), job(0.99), job(0.9899), job(0.9910, seconds=8)], target=0.99)

    found = {figure.name: figure for figure in figures}
    share = found["share of 4 seeds that reach 99.0%"]
    assert (share.sample.values, share.reached) == ((0.75,), False)
    assert found["weights of the net"].reached is True
    assert found["fast: a training, start to end"].sample == Sample((6.0, 6.0, 6.0, 8.0))


def test_a_job_without_a_test_accuracy_is_refused():
    with pytest.raises(BenchError, match="no test accuracy"):
        list(measure_jobs([job(None)], target=0.99))
