"""How long computations give way: within a session, and as a session among others."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core import priority
from core.priority import lower_priority

GROUP = Path("/proc/self/autogroup")
needs_groups = pytest.mark.skipif(not GROUP.exists(), reason="this kernel does not group processes by session")
PROGRAM = """
import os, sys
from core.priority import lower_priority
before = open("/proc/self/autogroup").read()
lower_priority(int(sys.argv[1]))
print(os.nice(0))
print(before.strip())
print(open("/proc/self/autogroup").read().strip())
"""


def run(nice: int, *, own_session: bool) -> tuple[int, str, str]:
    """Return a process's niceness, and its group before and after."""
    command = [sys.executable, "-c", PROGRAM, str(nice)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, start_new_session=own_session).stdout
    niceness, before, after = told.split("\n")[:3]
    return int(niceness), before, after


@needs_groups
def test_a_session_of_its_own_becomes_as_nice_as_its_process() -> None:
    niceness, before, after = run(7, own_session=True)
    assert niceness == min(19, os.nice(0) + 7)
    assert before.endswith(" nice 0")
    assert after == before.removesuffix("nice 0") + f"nice {niceness}"


@needs_groups
def test_the_session_of_others_stays_as_it_is() -> None:
    niceness, before, after = run(7, own_session=False)
    assert niceness == min(19, os.nice(0) + 7)
    assert before == after


class Group:
    """A group that refuses so many times to be set."""

    def __init__(self, refusals: int, reason: int) -> None:
        self.refusals, self.reason, self.tries, self.niceness = refusals, reason, 0, ""

    def write_text(self, text: str, **_: object) -> None:
        self.tries += 1
        if self.tries <= self.refusals:
            raise OSError(self.reason, os.strerror(self.reason))
        self.niceness = text


@pytest.fixture
def leads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(priority.os, "getsid", lambda _: os.getpid())
    monkeypatch.setattr(priority.time, "sleep", lambda _: None)


@pytest.mark.usefixtures("leads")
def test_where_the_kernel_is_asked_too_often_it_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    group = Group(3, errno.EAGAIN)
    monkeypatch.setattr(priority, "_GROUP", group)
    lower_priority(0)
    assert (group.tries, group.niceness) == (4, str(os.nice(0)))


@pytest.mark.usefixtures("leads")
@pytest.mark.parametrize(("reason", "tries"), [(errno.EAGAIN, 8), (errno.ENOENT, 1), (errno.EACCES, 1)])
def test_where_it_will_not_be_the_process_works_on(monkeypatch: pytest.MonkeyPatch, reason: int, tries: int) -> None:
    group = Group(99, reason)
    monkeypatch.setattr(priority, "_GROUP", group)
    lower_priority(0)
    assert (group.tries, group.niceness) == (tries, "")
