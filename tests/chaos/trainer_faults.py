"""What trainers of the fault suite do before each step: wait, and where their job is a poisoned one, go wrong.

It is loaded by the server that trainers are forked from. ``CHAOS_STEP_SECONDS`` says how long each step takes at least:
it makes a training slow enough to be hit, and costs no processor. A job whose seed is a key of ``CHAOS_POISON`` (JSON:
seed to the name of a fault) goes wrong at its third step. With ``CHAOS_TORCH`` as ``no`` torch, which takes most of a
worker's start, is not loaded, and no plots are drawn, which take most of a short job's time: for jobs whose engine is
numpy.
"""

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from chaos import wrong_clock

from worker import trainer

_STEP_SECONDS = float(os.environ.get("CHAOS_STEP_SECONDS", "0"))
_POISON: dict[str, str] = json.loads(os.environ.get("CHAOS_POISON", "{}"))
_AT_STEP = 3


def _segfault() -> None:
    ctypes.string_at(0)


def _exit() -> NoReturn:
    os._exit(1)


def _end_quietly() -> NoReturn:
    sys.exit(0)


def _stand_still() -> NoReturn:
    while True:
        time.sleep(0.1)


def _raise_without_text() -> NoReturn:
    raise RuntimeError


def _take_all_memory() -> None:
    """Ask for more than the process may have, as a net that is too large would."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, resource.RLIM_INFINITY))
    bytearray(10 * 2**30)


def _be_killed_for_memory() -> None:
    """Join the control group that ``CHAOS_CGROUP`` names and use more memory than it has."""
    Path(os.environ["CHAOS_CGROUP"], "cgroup.procs").write_text(str(os.getpid()))
    time.sleep(1)  # Until the supervisor has seen it there.
    taken = []
    while True:
        taken.append(b"x" * 2**24)


def _stand_still_with_children() -> NoReturn:
    """Ignore SIGTERM, start a process that does so too, and stand still."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"])
    _stand_still()


def _leave_a_child() -> NoReturn:
    """Die, and leave a process that holds the pipe to the supervisor open."""
    if os.fork() == 0:
        time.sleep(600)
    os._exit(3)


FAULTS: dict[str, Callable[[], object]] = {
    "segfault": _segfault,
    "exit": _exit,
    "quiet end": _end_quietly,
    "standstill": _stand_still,
    "wordless": _raise_without_text,
    "memory": _take_all_memory,
    "killed for memory": _be_killed_for_memory,
    "standstill with children": _stand_still_with_children,
    "child left": _leave_a_child,
}


class FaultyReporter(trainer.Reporter):
    """The trainer's reporter, which is asked for a command before each step."""

    fault: Callable[[], object] | None = None
    steps = 0

    def command(self) -> Any:
        """Wait, go wrong where it is time to, else answer as ever."""
        self.steps += 1
        if self.fault is not None and self.steps == _AT_STEP:
            self.fault()
        time.sleep(_STEP_SECONDS)
        return super().command()


def _train(order: dict[str, Any], reporter: FaultyReporter) -> None:
    reporter.fault = FAULTS.get(_POISON.get(str(order["config"]["seed"]), ""))
    _healthy_train(order, reporter)


if os.environ.get("CHAOS_TORCH") == "no":
    sys.modules[trainer.PRELOAD] = ModuleType(trainer.PRELOAD)
    trainer._pack_results = lambda result, reporter: []
else:
    import_module(trainer.PRELOAD)
wrong_clock.install()
_healthy_train = trainer._train
trainer.Reporter, trainer._train = FaultyReporter, _train
