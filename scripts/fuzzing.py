"""Fuzzes the readers of what strangers send, each for some minutes, and says what came of it.

``python scripts/fuzzing.py --minutes 10`` takes all targets of `tests/fuzz/targets.py`, or those that are named, as
many at once as there are cores. What was reached is kept in ``.fuzz/`` and is where the next run begins; an input that
breaks a target is kept there too, and its path printed. Exit status 1: there was one.
"""

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from fuzz.seeds import find_seeds
from fuzz.targets import TARGETS

ROOT = Path(__file__).parents[1]
KEPT = ROOT / ".fuzz"
_GROUP = "fuzz"
_MOST_BYTES = 16_384
_MEMORY_MIB = 1024
# The clock also runs while others compute: the program itself bounds the time on the processor.
_SILENT_SECONDS = 120
_FIGURE = re.compile(r"^stat::(\w+): +(\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Outcome:
    """What fuzzing a target came to; ``seconds`` and ``megabytes`` are the most that one input took and the process."""

    target: str
    executions: int
    crashes: int
    limits_exceeded: int
    seconds: int
    megabytes: int
    broken: list[Path]


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz, print a line for each target, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], help="default: all")
    parser.add_argument("--minutes", type=float, default=10.0, help="for each target")
    given = parser.parse_args(arguments)
    folder = install()
    with ThreadPoolExecutor(os.cpu_count()) as cores:  # Each target is a process of one thread.
        run = partial(fuzz, minutes=given.minutes, packages=folder)
        outcomes = list(cores.map(run, given.targets or TARGETS))
    print(f"{'all':8}{describe(total(outcomes))}", flush=True)
    return 1 if any(outcome.broken for outcome in outcomes) else 0


def install(home: Path = Path(sys.prefix)) -> Path:
    """Install the fuzzer beside the environment, where it is not yet, and return its folder."""
    groups: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
        "dependency-groups"
    ]
    told = "\n".join([sys.version, *groups[_GROUP]])
    folder = home / f"{_GROUP}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"
    if not (folder / ".done").exists():
        pip = [sys.executable, "-m", "pip", "install", "--no-input", "--quiet", "--quiet", "--upgrade"]
        subprocess.run([*pip, "--target", str(folder), *groups[_GROUP]], check=True)
        (folder / ".done").touch()
    return folder


def fuzz(target: str, *, minutes: float, packages: Path) -> Outcome:
    """Fuzz one target, print its line, and return what came of it."""
    corpus = write_seeds(target)
    options = {
        "max_total_time": max(1, round(minutes * 60)),
        "timeout": _SILENT_SECONDS,
        "rss_limit_mb": _MEMORY_MIB,
        "max_len": _MOST_BYTES,
        "print_final_stats": 1,
        "artifact_prefix": f"{KEPT / target}{os.sep}",
    }
    before = set(find_broken(target))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "fuzz.program", target),
            *(f"-{name}={value}" for name, value in options.items()),
            str(corpus),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests", packages)))},
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
    )
    outcome = read_outcome(target, done.stderr, [path for path in find_broken(target) if path not in before])
    if done.returncode and not outcome.broken:
        raise SystemExit(f"{target}: the fuzzer itself failed:\n{done.stderr[-4000:]}")
    print(f"{target:8}{describe(outcome)}", flush=True)
    for path in outcome.broken:
        print(f"  {path}\n{done.stderr[-3000:]}", flush=True)
    return outcome


def write_seeds(target: str) -> Path:
    """Return the folder of a target's corpus, with at least its seeds in it."""
    folder = KEPT / target / "corpus"
    folder.mkdir(parents=True, exist_ok=True)
    for seed in find_seeds(target):
        (folder / hashlib.sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)
    return folder


def find_broken(target: str) -> list[Path]:
    """Return the inputs that broke a target."""
    return [path for path in (KEPT / target).iterdir() if path.is_file()]


def read_outcome(target: str, told: str, broken: list[Path]) -> Outcome:
    """Return what the fuzzer's last words say."""
    figures = {name: int(number) for name, number in _FIGURE.findall(told)}
    beyond = [path for path in broken if not path.name.startswith("crash-") or "LimitExceeded" in told]
    return Outcome(
        target=target,
        executions=figures.get("number_of_executed_units", 0),
        crashes=len(broken) - len(beyond),
        limits_exceeded=len(beyond),
        seconds=figures.get("slowest_unit_time_sec", 0),
        megabytes=figures.get("peak_rss_mb", 0),
        broken=broken,
    )


def total(outcomes: Sequence[Outcome]) -> Outcome:
    """Return the sum of executions and finds, and the most time and memory."""
    return Outcome(
        target="all",
        executions=sum(one.executions for one in outcomes),
        crashes=sum(one.crashes for one in outcomes),
        limits_exceeded=sum(one.limits_exceeded for one in outcomes),
        seconds=max(one.seconds for one in outcomes),
        megabytes=max(one.megabytes for one in outcomes),
        broken=[path for one in outcomes for path in one.broken],
    )


def describe(outcome: Outcome) -> str:
    """Return an outcome's line, but for its name."""
    return (
        f"{outcome.executions:>12,} executions  {outcome.crashes} crashes  {outcome.limits_exceeded} limits exceeded  "
        f"slowest {outcome.seconds} s  most memory {outcome.megabytes} MiB"
    )


if __name__ == "__main__":
    sys.exit(main())
