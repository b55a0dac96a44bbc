"""F34, F35: jobs that ruin their trainer, beside one that is well: each fails with a named reason, nothing is left."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from chaos.control_groups import control_group
from chaos.platform import Platform
from chaos.processes import marked, until
from command_lines import command_line

MAX_ATTEMPTS = 3
_LITTLE_BYTES = str(2**28)
# The seed of each job says what is wrong with it.
POISON = {
    101: "segfault",
    102: "exit",
    103: "quiet end",
    104: "wordless",
    105: "memory",
    106: "child left",
    107: "standstill",
    108: "standstill with children",
    109: "killed for memory",
}
# What the job's error is called, after how many attempts, and how the last trainer ended where its code says it.
EXPECTED = {
    "segfault": ("trainer_crashed", MAX_ATTEMPTS, -signal.SIGSEGV),
    "exit": ("trainer_crashed", MAX_ATTEMPTS, 1),
    "quiet end": ("trainer_crashed", MAX_ATTEMPTS, 0),
    "wordless": ("trainer_crashed", MAX_ATTEMPTS, 0),
    "memory": ("out_of_memory", 2, 0),
    "killed for memory": ("out_of_memory", 2, -signal.SIGKILL),
    "child left": ("trainer_crashed", MAX_ATTEMPTS, 3),
    "standstill": ("stalled", MAX_ATTEMPTS, -signal.SIGKILL),
    "standstill with children": ("stalled", MAX_ATTEMPTS, -signal.SIGKILL),
}


@pytest.fixture(scope="module")
def little_memory() -> Iterator[Path | None]:
    """Return a control group of 256 MiB; ``None`` where this machine lets us make none."""
    first, second = {"memory.limit_in_bytes": _LITTLE_BYTES}, {"memory.max": _LITTLE_BYTES}
    with control_group("memory", first=first, second=second) as group:
        if group is not None and (swap := group / "memory.swap.max").exists():
            swap.write_text("0")
        yield group


@pytest.fixture(scope="module")
def platform(open_platform, little_memory: Path | None) -> Iterator[Platform]:
    """Return a platform on which some seeds are poisonous."""
    poison = {seed: name for seed, name in POISON.items() if little_memory or name != "killed for memory"}
    settings = {"MAX_ATTEMPTS": MAX_ATTEMPTS}
    os.environ["CHAOS_CGROUP"] = str(little_memory)
    with open_platform("sqlite", poison=poison, settings=settings) as running:
        yield running
    del os.environ["CHAOS_CGROUP"]


@pytest.fixture(scope="module")
def jobs(platform: Platform, dataset_id: str) -> dict[str, str]:
    """Return the id of each poisoned job, and of the healthy one that was queued last, once all have ended."""
    config = {"preset": "lenet5-relu", "engine": "numpy", "epochs": 1, "batch_size": 16, "early_stopping": None}
    platform.start_worker()
    platform.start_worker()
    submitted = {
        name: platform.caller.submit(dataset_id, {**config, "seed": seed})
        for seed, name in [*POISON.items(), (7, "healthy")]
    }
    for job_id in submitted.values():
        platform.caller.wait(job_id, seconds=200)
    return submitted


@pytest.mark.parametrize("name", POISON.values())
def test_a_poisoned_job_fails_with_a_named_reason(
    platform: Platform, jobs: dict[str, str], name: str, little_memory: Path | None, require
) -> None:
    can_be = name != "killed for memory" or little_memory is not None
    require(can_be, "no control group with a limit of memory can be made here")
    code, attempts, exit_code = EXPECTED[name]
    job = platform.caller.job(jobs[name])
    assert (job["status"], job["error"]["code"]) == ("failed", code)
    assert platform.caller.ends(jobs[name]) == [code] * attempts
    assert _attempts(platform, jobs[name])[-1]["exit_code"] == exit_code


def test_a_healthy_job_beside_them_succeeds(platform: Platform, jobs: dict[str, str]) -> None:
    assert platform.caller.job(jobs["healthy"])["status"] == "succeeded"
    assert platform.caller.ends(jobs["healthy"]) == ["succeeded"]


def test_no_trainer_and_no_child_of_one_is_left(platform: Platform, jobs: dict[str, str]) -> None:
    def asleep() -> list[psutil.Process]:
        return [one for one in marked(platform.mark) if "600" in command_line(one)]

    until(lambda: not asleep(), "the end of the trainers' children", 10)
    platform.judge()


def _attempts(platform: Platform, job_id: str) -> list[dict[str, Any]]:
    return platform.caller.get(f"/jobs/{job_id}/attempts")["items"]
