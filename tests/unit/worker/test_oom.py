"""Whom the kernel killed for want of memory, by the files that it shows: of both versions of control groups."""

from pathlib import Path

import pytest

from worker.oom import OomWatch

PID = 7


@pytest.fixture
def kernel(tmp_path):
    """Return a function that writes the kernel's files by their paths."""

    def write(**files: str) -> Path:
        for name, content in files.items():
            path = tmp_path / PATHS[name]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return tmp_path

    return write


PATHS = {
    "process": f"proc/{PID}/cgroup",
    "machine": "proc/vmstat",
    "first": "groups/memory/a/b/memory.oom_control",
    "other": "groups/memory/c/memory.oom_control",
    "container": "groups/memory/memory.oom_control",
    "second": "groups/a/b/memory.events.local",
}
VERSION_1 = "9:name=systemd:/\n4:cpu,memory:/a/b\n0::/\n"
VERSION_2 = "0::/a/b\n"


def watch(folder: Path) -> OomWatch:
    return OomWatch(PID, processes=folder / "proc", groups=folder / "groups")


@pytest.mark.parametrize(
    ("process", "counter"),
    [(VERSION_1, "first"), (VERSION_1, "container"), (VERSION_2, "second"), (VERSION_2, "machine")],
)
def test_a_kill_in_the_process_s_own_group_counts(kernel, process, counter) -> None:
    folder = kernel(process=process, **{counter: "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"})
    watched = watch(folder)
    assert not watched.has_killed()
    kernel(**{counter: "oom_kill_disable 0\noom_kill 4\n"})
    assert watched.has_killed()


@pytest.mark.parametrize(("process", "counter"), [(VERSION_1, "first"), (VERSION_2, "second")])
def test_a_kill_elsewhere_on_the_machine_does_not(kernel, process, counter) -> None:
    folder = kernel(process=process, machine="oom_kill 1\n", **{counter: "oom_kill 0\n"})
    watched = watch(folder)
    kernel(machine="oom_kill 2\n")
    assert not watched.has_killed()


def test_a_process_that_was_moved_is_followed_and_known_after_its_end(kernel) -> None:
    folder = kernel(process=VERSION_1, first="oom_kill 5\n", other="oom_kill 1\n")
    watched = watch(folder)
    kernel(process="4:memory:/c\n")
    watched.look()
    assert not watched.has_killed()
    (folder / PATHS["process"]).unlink()
    kernel(other="oom_kill 2\n")
    watched.look()
    assert watched.has_killed()


def test_a_dead_process_that_is_said_to_be_at_the_root_was_not_there(kernel) -> None:
    folder = kernel(process=VERSION_1, first="oom_kill 5\n", container="oom_kill 0\n")
    watched = watch(folder)
    kernel(process="4:memory:/\n", first="oom_kill 6\n")
    watched.look()
    assert watched.has_killed()


def test_where_there_is_no_counter_nothing_was_killed(kernel) -> None:
    assert not watch(kernel(machine="nr_free_pages 12\n")).has_killed()
    assert not watch(kernel(process=VERSION_2)).has_killed()
