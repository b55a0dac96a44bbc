import os
import signal
import subprocess
import sys
import time
from contextlib import closing

import pytest

from embedded import guard
from embedded.guard import Guard


@pytest.fixture
def sleeper():
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True
    )
    yield process
    process.kill()
    process.communicate()


def test_sessions_that_have_ended_are_left_alone():
    assert guard.watched(["+10 0\n", "+20 1\n", "-10\n", "+30 1\n"]) == {20: 1, 30: 1}


def test_forgetting_a_session_that_was_never_watched_is_no_fault():
    assert guard.watched(["-10\n"]) == {}


def test_the_highest_stage_ends_first(monkeypatch):
    alive, order = {10, 20, 30}, []

    def send(_, sessions):
        order.append(set(sessions) & alive)
        alive.difference_update(sessions)
        return []

    monkeypatch.setattr(guard, "send", send)
    monkeypatch.setattr(guard, "members", lambda session: [session] if session in alive else [])
    guard.end({10: 0, 30: 2, 20: 2}, grace_seconds=1.0)
    assert [sessions for sessions in order if sessions] == [{20, 30}, {10}]


def test_members_of_a_session_are_its_living_processes(sleeper):
    assert guard.members(sleeper.pid) == [sleeper.pid]
    os.kill(sleeper.pid, signal.SIGKILL)
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert guard.members(sleeper.pid) == []  # A zombie is not alive.


def test_without_proc_the_leader_s_group_stands_for_its_session(sleeper, tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "_PROCESSES", tmp_path / "none")
    assert guard.members(sleeper.pid) == [-sleeper.pid]
    guard.send(signal.SIGKILL, [sleeper.pid])
    assert sleeper.wait(10) == -signal.SIGKILL
    assert guard.members(sleeper.pid) == []


def test_a_guard_that_is_closed_ends_what_is_still_watched(sleeper):
    with closing(Guard(grace_seconds=5.0)) as watcher:
        watcher.watch(sleeper.pid, 0)
    assert sleeper.wait(10) == -signal.SIGTERM


def test_a_guard_that_is_closed_leaves_the_forgotten_alone(sleeper):
    with closing(Guard(grace_seconds=5.0)) as watcher:
        watcher.watch(sleeper.pid, 0)
        watcher.forget(sleeper.pid)
    assert sleeper.poll() is None


def test_a_guard_that_was_killed_breaks_nothing(sleeper):
    with closing(Guard(grace_seconds=5.0)) as watcher:
        watcher._process.kill()
        watcher._process.wait()
        watcher.watch(sleeper.pid, 0)
    assert sleeper.poll() is None


def test_the_guard_starts_in_a_moment():
    begun = time.monotonic()
    Guard(grace_seconds=5.0).close()
    assert time.monotonic() - begun < 5
