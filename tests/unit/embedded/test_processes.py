"""Every process here is real and tiny."""

import errno
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from embedded import guard, processes
from embedded.errors import KeepsDyingError
from embedded.processes import Patience, Program, Supervisor

SLEEP = "import time; print('up', flush=True); time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
ORPHANING = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); {SLEEP}"
EAGER = Patience(quick_seconds=30.0, first_seconds=0.01, most_seconds=0.02, quick_deaths=3)


class SilentGuard:
    """A guard that only remembers what it was told."""

    def __init__(self):
        self.watched = set()

    def watch(self, session, stage):
        self.watched.add(session)

    def forget(self, session):
        self.watched.remove(session)


@pytest.fixture
def program(tmp_path):
    def make(code, *, name="fake", grace_seconds=10.0):
        command = (sys.executable, "-I", "-S", "-c", code)
        return Program(name, command, tmp_path / f"{name}.log", dict(os.environ), grace_seconds=grace_seconds)

    return make


@pytest.fixture
def reports():
    return []


@pytest.fixture
def watcher():
    return SilentGuard()


@pytest.fixture
def supervisor(reports, watcher):
    supervisor = Supervisor(reports.append, patience=EAGER, watcher=watcher)
    yield supervisor
    supervisor.stop(hurried=lambda: True)


def tend_until(supervisor, condition, *, give_up=False):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        supervisor.tend(give_up=give_up)
        time.sleep(0.01)


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


def logged(program, text="up", times=1):
    return lambda: program.log.exists() and program.log.read_text().count(text) >= times


def test_a_killed_process_is_started_again_with_one_line(supervisor, program, reports):
    supervisor.start([program(SLEEP)])
    first = supervisor.alive()
    os.kill(first[0], signal.SIGKILL)
    tend_until(supervisor, lambda: supervisor.alive() not in ([], first))
    assert len(reports) == 1
    assert "fake ended (killed by SIGKILL); starting it again in 0.01 s" in reports[0]


def test_a_process_that_keeps_dying_at_once_ends_the_start_with_its_last_lines(supervisor, program, reports):
    supervisor.start([program("print('first words'); print('the reason'); raise SystemExit(7)")])
    with pytest.raises(KeepsDyingError, match=r"exit code 7\) 3 times in a row(.|\n)*the reason"):
        tend_until(supervisor, lambda: False, give_up=True)
    assert len(reports) == 2


def test_a_process_that_keeps_dying_is_tried_for_ever_once_all_is_up(supervisor, program):
    dying = program("print('again'); raise SystemExit(1)")
    supervisor.start([dying])
    tend_until(supervisor, logged(dying, "again", times=5), give_up=False)


def test_only_the_latest_process_s_lines_are_shown(supervisor, program):
    dying = program("print('words of this one'); raise SystemExit(1)")
    dying.log.write_text("words of an earlier start\n")
    supervisor.start([dying])
    with pytest.raises(KeepsDyingError) as raised:
        tend_until(supervisor, lambda: False, give_up=True)
    assert raised.value.detail.count("words of this one") == 1
    assert "earlier" not in raised.value.detail


def test_a_process_without_a_word_is_said_to_be_so(supervisor, program):
    supervisor.start([program("raise SystemExit(1)")])
    with pytest.raises(KeepsDyingError, match="it logged nothing"):
        tend_until(supervisor, lambda: False, give_up=True)


def test_a_process_that_lived_long_is_not_counted_as_dying_at_once(program, reports, watcher):
    patience = Patience(quick_seconds=0.0, first_seconds=0.0, most_seconds=0.0, quick_deaths=1)
    supervisor = Supervisor(reports.append, patience=patience, watcher=watcher)
    dying = program("print('again'); raise SystemExit(1)")
    supervisor.start([dying])
    tend_until(supervisor, logged(dying, "again", times=3), give_up=True)
    supervisor.stop()


def test_the_wait_doubles_up_to_a_bound():
    patience = Patience(first_seconds=0.5, most_seconds=3.0)
    assert [patience.wait_seconds(deaths) for deaths in (0, 1, 2, 3, 4, 5000)] == [0.5, 0.5, 1.0, 2.0, 3.0, 3.0]


def test_later_stages_stop_first(supervisor, program):
    last_words = "lambda *_: (print('end', time.monotonic()), sys.exit())"
    code = f"import signal, sys, time; signal.signal(signal.SIGTERM, {last_words}); {SLEEP}"
    stages = [[program(code, name=name)] for name in ("base", "top")]
    for stage in stages:
        supervisor.start(stage)
        wait_until(logged(stage[0]))
    supervisor.stop()
    base, top = (float(stage[0].log.read_text().split()[-1]) for stage in stages)
    assert top < base


def test_a_process_that_ignores_the_stop_is_killed_after_its_grace(supervisor, program, reports):
    stubborn = program(STUBBORN, grace_seconds=0.2)
    supervisor.start([stubborn])
    wait_until(logged(stubborn))
    pid = supervisor.alive()[0]
    supervisor.stop()
    assert guard.members(pid) == []
    assert "did not stop by itself and is killed" in reports[0]


def test_haste_kills_before_the_grace_is_over(supervisor, program):
    stubborn = program(STUBBORN, grace_seconds=60.0)
    supervisor.start([stubborn])
    wait_until(logged(stubborn))
    begun = time.monotonic()
    supervisor.stop(hurried=lambda: True)
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("how", ["stop", "death"])
def test_a_process_leaves_no_children_behind(supervisor, program, how):
    parent = program(ORPHANING)
    supervisor.start([parent])
    wait_until(logged(parent, times=2))
    pid = supervisor.alive()[0]
    assert len(guard.members(pid)) == 2
    if how == "stop":
        supervisor.stop()
    else:
        os.kill(pid, signal.SIGKILL)
        tend_until(supervisor, lambda: supervisor.alive() != [pid] and guard.members(pid) == [])
    assert guard.members(pid) == []


def test_the_guard_knows_what_runs_and_nothing_else(supervisor, program, watcher):
    supervisor.start([program(SLEEP)])
    first = supervisor.alive()
    assert watcher.watched == set(first)
    os.kill(first[0], signal.SIGKILL)
    tend_until(supervisor, lambda: supervisor.alive() not in ([], first))
    assert watcher.watched == set(supervisor.alive())
    supervisor.stop()
    assert watcher.watched == set()


def test_a_stop_while_a_process_waits_for_its_next_start_stops_at_once(program, reports, watcher):
    supervisor = Supervisor(reports.append, patience=Patience(first_seconds=60.0), watcher=watcher)
    supervisor.start([program("raise SystemExit(1)")])
    tend_until(supervisor, lambda: reports)
    supervisor.stop()
    assert supervisor.alive() == []


def test_a_log_that_has_grown_too_long_is_moved_aside(supervisor, program, monkeypatch):
    monkeypatch.setattr(processes, "_LOG_MAX_BYTES", 10)
    talker = program(f"print('much too long a line', flush=True); {SLEEP}")
    supervisor.start([talker])
    aside = talker.log.with_suffix(".log.1")
    wait_until(logged(talker))
    tend_until(supervisor, aside.exists)
    assert "much too long" in aside.read_text()
    assert talker.log.read_text() == ""


def test_a_log_that_was_taken_away_or_cannot_be_copied_stops_nobody(supervisor, program, monkeypatch):
    monkeypatch.setattr(processes, "_LOG_MAX_BYTES", 10)
    talker = program(f"print('much too long a line', flush=True); {SLEEP}")
    supervisor.start([talker])
    wait_until(logged(talker))

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(processes.shutil, "copyfile", fail)
    supervisor.tend(give_up=True)
    assert talker.log.read_text() == ""
    talker.log.unlink()
    supervisor.tend(give_up=True)
    assert len(supervisor.alive()) == 1


@contextmanager
def a_killed_supervisor(tmp_path, code):
    """Run a supervisor in a process of its own and kill it once its program is up; yield the program's session."""
    log = tmp_path / "fake.log"
    script = f"""
import os, sys, time, pathlib
from embedded.guard import Guard
from embedded.processes import Patience, Program, Supervisor
log = pathlib.Path({str(log)!r})
supervisor = Supervisor(print, patience=Patience(), watcher=Guard(grace_seconds=0.5))
supervisor.start([Program("fake", (sys.executable, "-I", "-S", "-c", {code!r}), log, dict(os.environ))])
while log.read_text().count("up") < {1 + code.count("Popen")}:
    time.sleep(0.01)
print(supervisor.alive()[0], flush=True)
os.kill(os.getpid(), 9)
"""
    killed = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    session = int(killed.stdout)
    try:
        yield session
    finally:
        guard.send(signal.SIGKILL, [session])


@pytest.mark.parametrize("code", [SLEEP, STUBBORN, ORPHANING], ids=["willing", "stubborn", "with a child"])
def test_a_killed_supervisor_leaves_nothing_running(tmp_path, code):
    with a_killed_supervisor(tmp_path, code) as session:
        wait_until(lambda: guard.members(session) == [])
