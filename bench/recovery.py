"""How soon does a job go on whose worker is killed? The same job of 60 steps of a second on every queue.

Two hosts each; the one on which the job runs is killed with SIGKILL, everything on it at once, at a random moment, and
its supervisor starts it again. The job writes down each step with its time and number: from that file alone come the
time from SIGKILL to the next step, the steps done twice, how many copies ran at once, and whether the job was done at
all while it was watched. Where nothing came in that time, the time watched is listed. The peers are set up as their
documentation says for jobs that must not be lost (`bench.peers.queues`); this platform with its defaults.
"""

import random
import secrets
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from bench.command import run_command
from bench.figures import Figure, Goal, Sample
from bench.peers.queues.packages import install_peers
from bench.platform import BenchError
from bench.postgres import run_postgres
from bench.recovery_sides import Deployment, Side, Work, list_sides
from bench.steps import Step, count_at_once, count_repeated, first_after

_OURS = "this platform"
_START_SECONDS = 120.0
_LOOK_SECONDS = 0.2
# A queue that gives a job out again does so within this time of its end, if another worker is free.
_QUIET_SECONDS = 20.0
_MOST_AT_ONCE = 8


@dataclass(frozen=True)
class Plan:
    """How a queue is tried: the job, when its host is killed (seconds after its first step), how long it is watched."""

    work: Work
    kill_between: tuple[float, float]
    watch_seconds: float


@dataclass(frozen=True)
class Outcome:
    """What became of one job: times in seconds; ``gap`` is ``None`` where no step came while it was watched."""

    gap: float | None
    repeated: int
    at_once: int
    done: bool


def measure(quick: bool) -> Iterator[Figure]:
    """Yield each side's figures."""
    work = Work(steps=60, seconds=1.0)
    plan = Plan(work, (3.0, 6.0), 115.0) if quick else Plan(work, (10.0, 40.0), 900.0)
    packages = install_peers()
    seed = secrets.randbits(32)
    print(f"  random moments: seed {seed}", file=sys.stderr)
    with run_postgres() as server:
        found = _try_all(list_sides(server, packages), plan, random.Random(seed), times=1 if quick else 5)  # noqa: S311 - moments
    for name, outcomes in found.items():
        yield from _figures(name, outcomes, plan)


def _try_all(sides: Sequence[Side], plan: Plan, draw: random.Random, *, times: int) -> dict[str, list[Outcome]]:
    """Try each side so often; several deployments run beside each other, since all of them mostly wait."""
    found: dict[str, list[Outcome]] = defaultdict(list)
    ended = threading.Event()
    with ThreadPoolExecutor(max_workers=_MOST_AT_ONCE) as executor:
        futures = {
            executor.submit(_try, side, plan, draw.uniform(*plan.kill_between), ended): side.name
            for side in sides
            for _ in range(times)
        }
        try:
            for future in as_completed(futures):
                found[futures[future]].append(future.result())
        except BaseException:
            ended.set()
            executor.shutdown(wait=False, cancel_futures=True)
            raise
    return {side.name: found[side.name] for side in sides}


def _try(side: Side, plan: Plan, kill_after: float, ended: threading.Event) -> Outcome:
    with side.open(plan.work) as deployment:
        deployment.send()
        first = _await_first(deployment, side.name)
        ended.wait(max(0.0, first.at + kill_after - time.time()))
        host, killed_at = deployment.find_host(first.pid), time.time()
        host.kill()
        steps = _watch(deployment, plan, killed_at, ended)
    return judge(steps, plan.work, killed_at, killed=first.run)


def _await_first(deployment: Deployment, name: str) -> Step:
    deadline = time.monotonic() + _START_SECONDS
    while not (steps := deployment.steps()):
        if time.monotonic() > deadline:
            raise BenchError(f"{name}: the job did not begin")
        time.sleep(_LOOK_SECONDS)
    return steps[0]


def _watch(deployment: Deployment, plan: Plan, killed_at: float, ended: threading.Event) -> list[Step]:
    """Return all steps, once the job is done and nothing more comes, or the time is over."""
    while True:
        is_over = ended.wait(_LOOK_SECONDS)
        steps, now = deployment.steps(), time.time()
        is_done = any(step.number == plan.work.steps for step in steps)
        if is_over or now - killed_at > plan.watch_seconds or (is_done and now - steps[-1].at > _QUIET_SECONDS):
            return steps


def judge(steps: Sequence[Step], work: Work, killed_at: float, *, killed: str) -> Outcome:
    """Return what became of a job whose run ``killed`` was killed at a moment."""
    again = first_after(steps, killed_at, but=killed)
    return Outcome(
        gap=again.at - killed_at if again else None,
        repeated=count_repeated(steps),
        at_once=count_at_once(steps),
        done=any(step.number == work.steps for step in steps),
    )


def _figures(name: str, outcomes: Sequence[Outcome], plan: Plan) -> Iterator[Figure]:
    watched = plan.watch_seconds
    never = sum(outcome.gap is None for outcome in outcomes)
    note = f" ({never} of {len(outcomes)} not within {watched:.0f} s)" if never else ""
    gaps = Sample(tuple(watched if outcome.gap is None else outcome.gap for outcome in outcomes))
    goal = Goal(31, "at most", 45) if name == _OURS else None
    yield Figure(f"{name}: SIGKILL of the worker to the next step{note}", gaps, "s", goal)
    repeated = Sample(tuple(float(outcome.repeated) for outcome in outcomes))
    yield Figure(f"{name}: steps done again", repeated, "steps")
    at_once = Sample(tuple(float(outcome.at_once) for outcome in outcomes))
    yield Figure(f"{name}: copies of the job at once, at most", at_once, "copies")
    lost = Sample((float(sum(not outcome.done for outcome in outcomes)),))
    yield Figure(f"{name}: jobs of {len(outcomes)} not done {watched:.0f} s after the kill", lost, "jobs")


if __name__ == "__main__":
    run_command("recovery", __doc__, measure)
