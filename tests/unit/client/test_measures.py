import time
from datetime import UTC, datetime

import pytest

from client.measures import duration, moment, percent, plain, size


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, None), (0.04, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (7200, "2 h 0 min")],
)
def test_durations_are_said_as_people_do(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(("number", "words"), [(None, None), (1023, "1023 B"), (1024, "1.0 KiB"), (2**41, "2.0 TiB")])
def test_sizes_take_the_largest_unit_that_fits(number, words):
    assert size(number) == words


def test_shares_are_shown_in_percent():
    assert (percent(None), percent(0.98765), percent(1, 0)) == (None, "98.77 %", "100 %")


def test_what_the_platform_sent_cannot_steer_the_terminal():
    assert plain("a\x1b[31mb\rc\nd") == "a�[31mb�c�d"


def test_a_moment_beyond_the_calendar_here_is_shown_as_it_came(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    assert moment(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)) == "9999-12-31 23:59:59"
    monkeypatch.undo()
    time.tzset()
