"""Figures: what was measured, how often, how widely it spreads, and whether it is good enough."""

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self


@dataclass(frozen=True)
class Sample:
    """Measurements of one thing, at least one."""

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("a sample has at least one value")

    @property
    def n(self) -> int:
        """How many there are."""
        return len(self.values)

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        """The least."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The most."""
        return max(self.values)

    def percentile(self, percent: float) -> float:
        """Return the least value that so many percent of all do not exceed."""
        ordered = sorted(self.values)
        return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


@dataclass(frozen=True)
class Goal:
    """What a figure's median is held to.

    Attributes:
        number: Its number in the list of goals.
        side: Whether the bound is a ceiling or a floor.
        bound: In the figure's unit.
    """

    number: int
    side: Literal["at most", "at least"]
    bound: float

    def is_reached_by(self, value: float) -> bool:
        """Return whether ``value`` is on the right side; the bound itself is."""
        return value <= self.bound if self.side == "at most" else value >= self.bound

    def __str__(self) -> str:
        return f"{'≤' if self.side == 'at most' else '≥'} {shorten(self.bound)}"


@dataclass(frozen=True)
class Figure:
    """One answer of a benchmark.

    Attributes:
        name: What was measured, and against what where it is a ratio.
        sample: The measurements.
        unit: Their unit; ``×`` for a ratio.
        goal: What it is held to; ``None`` where it only explains another.
    """

    name: str
    sample: Sample
    unit: str
    goal: Goal | None = None

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; ``None`` without one."""
        return self.goal.is_reached_by(self.sample.median) if self.goal else None

    def line(self) -> str:
        """Return it as a line to read."""
        sample = self.sample
        spread = f"n={sample.n}, {shorten(sample.low)}–{shorten(sample.high)}"
        verdict = {True: "reached", False: "MISSED", None: ""}[self.reached]
        ending = f"  goal {self.goal.number}: {self.goal}, {verdict}" if self.goal else ""
        return f"{self.name}: {shorten(sample.median)} {self.unit} ({spread}){ending}"

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    @classmethod
    def parse(cls, plain: Mapping[str, Any]) -> Self:
        """Return what `plain` came from."""
        goal = plain["goal"] and Goal(**plain["goal"])
        return cls(plain["name"], Sample(tuple(plain["sample"]["values"])), plain["unit"], goal)


def shorten(value: float) -> str:
    """Return a number with three digits that count, or whole where it has more."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def alternate(sides: Mapping[str, Callable[[], float]], *, rounds: int) -> dict[str, Sample]:
    """Ask every side once in each round, so that all meet the same neighbours on the machine.

    The order turns by one from round to round: no side always comes after the same other.
    """
    names = list(sides)
    values: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            values[name].append(sides[name]())
    return {name: Sample(tuple(found)) for name, found in values.items()}


def divide(ours: Sample, peer: Sample) -> Sample:
    """Return the ratio within each round; raises `ValueError` where the rounds are not as many."""
    return Sample(tuple(mine / other for mine, other in zip(ours.values, peer.values, strict=True)))


def speeds(seconds: Sample, amount: float) -> Sample:
    """Return ``amount`` in a second, where that took each of ``seconds``."""
    return Sample(tuple(amount / value for value in seconds.values))


def collect(measure: Callable[[], float], *, times: int) -> Sample:
    """Return ``times`` measurements, one after another."""
    return Sample(tuple(measure() for _ in range(times)))
