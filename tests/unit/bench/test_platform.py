from datetime import UTC, datetime, timedelta

import pytest

from bench.platform import BenchError, epoch_seconds, seconds_of
from client.types import Epoch, Job

START = datetime(2026, 1, 1, tzinfo=UTC)


def job(begun: float, ended: float | None) -> Job:
    finished_at = None if ended is None else START + timedelta(seconds=ended)
    return Job(id="job", status="succeeded", created_at=START + timedelta(seconds=begun), finished_at=finished_at)


def test_the_time_of_several_jobs_is_from_the_first_submission_to_the_last_end():
    assert seconds_of([job(1, 5), job(0, 4), job(2, 9.5)]) == 9.5


def test_jobs_that_have_not_ended_have_no_time():
    with pytest.raises(BenchError, match="ended"):
        seconds_of([job(0, 1), job(0, None)])


def test_every_epoch_has_its_seconds():
    assert epoch_seconds([Epoch(epoch=1, seconds=2.5), Epoch(epoch=2, seconds=2.0)]) == [2.5, 2.0]


@pytest.mark.parametrize("epochs", [[], [Epoch(epoch=1, seconds=1.0), Epoch(epoch=2)]])
def test_epochs_without_a_time_are_refused(epochs):
    with pytest.raises(BenchError, match="no time"):
        epoch_seconds(epochs)
