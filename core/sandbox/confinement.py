"""Confining the present process, as far as the kernel at hand allows: each measure that it refuses is told."""

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from core.sandbox import kernel, landlock, system_calls
from core.sandbox.bounds import Bounds

_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR", "VIRTUAL_ENV")
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_NEW_ACCOUNTS, _NEW_NETWORK = 0x10000000, 0x40000000
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")
# They hold nothing, so whoever reaches them reaches nothing.
_EMPTY_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Reach:
    """The files that a process may open beside the code that it runs.

    Attributes:
        readable: Files and folders to read.
        writable: Folders to make files in.
    """

    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()


def confine(bounds: Bounds, reach: Reach, *, parent: int, may_fork: bool) -> dict[str, str]:
    """Give up whatever this process does not need to read files of others. It may have one thread only.

    It keeps its open files, so pipes to its parent go on to work. Nothing is given back later. What the kernel refuses
    is left out, so that the process works anywhere: its bounds and the empty environment always hold.

    Args:
        bounds: How much of the machine it may take.
        reach: The files that it may open.
        parent: The process that it ends with.
        may_fork: Whether it may start processes; they are confined as it is.

    Returns:
        What could not be done, each measure with the reason.
    """
    bounds.take()
    if sys.platform != "linux":
        kernel.end_with_parent(parent)
        return {"everything but bounds": f"not written for {sys.platform}"}
    measures: list[tuple[str, Callable[[], None]]] = [
        ("network of its own", _leave_network),
        ("no capabilities", kernel.drop_capabilities),
        ("no new privileges", kernel.refuse_new_privileges),
        ("closed to inspection", kernel.refuse_inspection),
        ("few files", lambda: _limit_files(reach)),
        ("few system calls", system_calls.refuse_ways_out),
    ]
    if not may_fork:
        measures.append(("no new processes", system_calls.refuse_new_processes))
    missing = dict(_try(measures))
    kernel.end_with_parent(parent)
    return missing


def _try(measures: Iterable[tuple[str, Callable[[], None]]]) -> Iterable[tuple[str, str]]:
    for name, take in measures:
        try:
            take()
        except OSError as error:
            yield name, error.strerror or str(error)


def _leave_network() -> None:
    """Move to a network without any device; where only root may, as somebody who is root of nothing but it."""
    try:
        kernel.call("unshare", _NEW_NETWORK)
    except PermissionError:
        kernel.call("unshare", _NEW_ACCOUNTS | _NEW_NETWORK)


def _limit_files(reach: Reach) -> None:
    devices = [Path(device) for device in _EMPTY_DEVICES]
    landlock.restrict(readable=[*_find_code(), *reach.readable], writable=[*devices, *reach.writable])


def _find_code() -> list[Path]:
    """Return where modules and libraries may yet be loaded from. The checkout as a whole is not: data may lie in it."""
    python = [Path(prefix) / folder for prefix in (sys.prefix, sys.base_prefix) for folder in ("lib", "lib64")]
    return [_ROOT / "core", *python, *(Path(folder) for folder in _LIBRARIES)]


def bare_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables of a process that reads hostile bytes: no setting and no secret, one thread of mathematics.

    Args:
        environment: Where from; by default this process's own.
    """
    given = os.environ if environment is None else environment
    kept = {name: given[name] for name in _KEPT_VARIABLES if name in given}
    return {**kept, **_ONE_THREAD, "PYTHONPATH": str(_ROOT)}
