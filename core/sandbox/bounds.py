"""How much of the machine a process may take."""

import resource
from dataclasses import dataclass

from core.priority import lower_priority


@dataclass(frozen=True)
class Bounds:
    """What the system holds a process to, and each process that it starts.

    Attributes:
        memory_bytes: Address space.
        file_bytes: Size of each file that it writes.
        open_files: Files open at once.
        cpu_seconds: Time on the processor; ``None``: it is bounded piece by piece, by `allow_cpu`.
        nice: What is added to its niceness.
    """

    memory_bytes: int
    file_bytes: int
    open_files: int
    cpu_seconds: float | None = None
    nice: int = 0

    def take(self) -> None:
        """Bound this process; a bound that is tighter already stays."""
        lower_priority(self.nice)
        _lower(resource.RLIMIT_AS, self.memory_bytes)
        _lower(resource.RLIMIT_FSIZE, self.file_bytes)
        _lower(resource.RLIMIT_NOFILE, self.open_files)
        if self.cpu_seconds is not None:
            _lower(resource.RLIMIT_CPU, _whole(self.cpu_seconds))
        _lower(resource.RLIMIT_CORE, 0)


def _lower(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (bound, bound))


def allow_cpu(seconds: float) -> None:
    """Have the system kill this process once it has computed for so long from now on (SIGXCPU).

    Whole seconds are the finest that the system counts in. What `Bounds.cpu_seconds` allows in all is not passed.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    wanted = _whole(used.ru_utime + used.ru_stime + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def _whole(seconds: float) -> int:
    return max(1, -int(-seconds // 1))
