"""F40: a worker that gets its share of time in bits: frozen again and again, or with a twentieth of a core."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest
from chaos.control_groups import control_group, freezer, frozen
from chaos.platform import Platform
from chaos.processes import Process, until

LEASE_SECONDS = 12.0
# Half of the time, for less than the lease without the time between two heartbeats.
FROZEN_SECONDS = 4.0
FREEZES = 2
# A twentieth of each tenth of a second.
_CPU_QUOTA = {"first": {"cpu.cfs_quota_us": "5000"}, "second": {"cpu.max": "5000 100000"}}


@pytest.fixture(scope="module")
def platform(open_platform) -> Iterator[Platform]:
    """Return a platform on SQLite whose leases are long enough for a worker that is stopped for seconds."""
    with open_platform("sqlite", settings={"LEASE_SECONDS": LEASE_SECONDS, "STALL_SECONDS": 30}) as running:
        yield running


def _join(folder: Path, worker: Process) -> None:
    for process in (psutil.Process(worker.pid), *worker.children()):
        (folder / "cgroup.procs").write_text(str(process.pid))


def test_a_worker_that_is_frozen_for_less_than_its_lease_loses_nothing(
    platform: Platform, dataset_id: str, job: dict[str, Any], weights: str
) -> None:
    with freezer() as group, ExitStack() as stack:
        stack.callback(platform.stop_workers)  # before the group can go
        worker = platform.start_worker()
        job_id = platform.caller.submit(dataset_id, {**job, "epochs": 8})
        until(lambda: platform.caller.epochs(job_id), "the first epoch")
        if group:
            _join(group, worker)
        for _ in range(FREEZES):
            _freeze_for_a_while(platform, worker, group)
            time.sleep(FROZEN_SECONDS / 2)
        assert platform.caller.wait(job_id)["status"] == "succeeded"
        assert platform.caller.ends(job_id) == ["succeeded"]
        platform.judge()


def _freeze_for_a_while(platform: Platform, worker: Process, group: Path | None) -> None:
    """Freeze a worker with the kernel's freezer, or with signals where this machine lets us have none."""
    if group is None:
        platform.freeze(worker, below=True)
        time.sleep(FROZEN_SECONDS)
        worker.thaw(below=True)
        return
    with frozen(group):
        time.sleep(FROZEN_SECONDS)


def test_a_worker_with_a_twentieth_of_a_core_keeps_its_lease(
    platform: Platform, dataset_id: str, job: dict[str, Any], weights: str, require
) -> None:
    with control_group("cpu", **_CPU_QUOTA) as group, ExitStack() as stack:
        require(group is not None, "no control group with a share of the processor can be made here")
        stack.callback(platform.stop_workers)
        worker = platform.start_worker()
        job_id = platform.caller.submit(dataset_id, job)
        until(lambda: platform.caller.epochs(job_id), "the first epoch")
        _join(group, worker)
        assert platform.caller.wait(job_id, seconds=180)["status"] == "succeeded"
        assert platform.caller.ends(job_id) == ["succeeded"]
        assert platform.caller.weights(job_id) == weights
        platform.judge()
