"""Whether the kernel ended a process because memory had run out; the process itself can no longer say so."""

from pathlib import Path

_COUNTERS = Path("/proc/vmstat")


def count_oom_kills(counters: Path = _COUNTERS) -> int:
    """Return how many processes this machine's kernel has killed for want of memory, a container's limit included.

    Where there is no such counter it is 0 for ever: such an end then counts as a kill from outside.
    """
    try:
        lines = counters.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
