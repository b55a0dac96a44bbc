"""Whether the kernel ended a process because memory had run out; the process itself can no longer say so."""

from collections.abc import Iterator
from pathlib import Path

_PROCESSES = Path("/proc")
_GROUPS = Path("/sys/fs/cgroup")


class OomWatch:
    """Counts whom the kernel kills for want of memory in the control group of one process.

    The machine's own count is that of all its containers, of which another one's may have run out. It is looked at only
    where the group has none, as at the root of version 2. Where there is no counter at all, nobody was killed.

    Args:
        pid: The process.
        processes: Where the kernel tells of processes and of the machine.
        groups: Where control groups are mounted, of either version.
    """

    def __init__(self, pid: int, *, processes: Path = _PROCESSES, groups: Path = _GROUPS) -> None:
        self._pid, self._processes, self._groups = pid, processes, groups
        self._before: dict[Path, int] = {}
        self.look()

    def look(self) -> None:
        """Note the group that the process is in now: it may be moved.

        Once it is dead it can no longer be asked; until it has been waited for, version 1 says that it is at the root.
        """
        counter = next((path for path in self._list_counters() if path.exists()), None)
        if counter is not None and counter not in self._before:
            self._before[counter] = _count(counter)

    def has_killed(self) -> bool:
        """Return whether the kernel has killed somebody where the process was, since it was first seen there."""
        return any(_count(counter) > before for counter, before in self._before.items())

    def _list_counters(self) -> Iterator[Path]:
        """Yield the files that may have the count, the nearest first; none once the process is gone."""
        try:
            lines = (self._processes / str(self._pid) / "cgroup").read_text().splitlines()
        except OSError:
            return
        groups = {controllers: path.lstrip("/") for _, controllers, path in (line.split(":", 2) for line in lines)}
        of_memory = next((path for names, path in groups.items() if "memory" in names.split(",")), None)
        if of_memory is not None:
            yield self._groups / "memory" / of_memory / "memory.oom_control"
            yield self._groups / "memory" / "memory.oom_control"  # A container sees its own group as the root.
        yield self._groups / groups.get("", "") / "memory.events.local"
        yield self._processes / "vmstat"


def _count(counter: Path) -> int:
    try:
        lines = counter.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
