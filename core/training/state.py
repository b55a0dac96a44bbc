"""What of a training moves on, apart from the net and the optimiser."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from core.domain.jobs import StopReason
from core.training.contract import EpochResult
from core.training.engines import Arrays


@dataclass
class Place:
    """Where a training stands, and its sums over the epoch so far."""

    epoch: int = 1
    batch: int = 0
    images: int = 0
    loss: float = 0.0
    right: int = 0
    seconds: float = 0.0


@dataclass
class Best:
    """The best monitored value so far, how many epochs ago it was, and the weights then, where they are kept."""

    epoch: int | None = None
    value: float = math.inf
    waited: int = 0
    weights: Arrays | None = None


@dataclass
class Circumstances:
    """What decides, beside config and data, whether two trainings give the same weights to the bit."""

    threads: int
    device: str
    processor: str
    precision: str
    versions: dict[str, str]
    code: str


@dataclass
class State:
    """Everything of a training that changes, apart from the net and the optimiser.

    Attributes:
        place: What comes next.
        best: The best epoch so far.
        history: The epochs that have ended.
        exact: Whether each resume so far was under equal circumstances.
        stop_reason: Why no epoch comes any more: decided when one has ended, never within one.
        initial_weights: SHA-256 of the weights that the training began with, where they are another job's.
    """

    place: Place = field(default_factory=Place)
    best: Best = field(default_factory=Best)
    history: list[EpochResult] = field(default_factory=list)
    exact: bool = True
    stop_reason: StopReason | None = None
    initial_weights: str | None = None

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values; the best epoch's weights are left out."""
        return {
            "place": asdict(self.place),
            "best": {"epoch": self.best.epoch, "value": self.best.value, "waited": self.best.waited},
            "history": [result.plain() for result in self.history],
            "exact": self.exact,
            "stop_reason": self.stop_reason and str(self.stop_reason),
            "initial_weights": self.initial_weights,
        }

    @classmethod
    def parse(cls, plain: Mapping[str, Any], best_weights: Arrays | None) -> "State":
        """Return what `plain` came from."""
        return cls(
            place=Place(**plain["place"]),
            best=Best(**plain["best"], weights=best_weights),
            history=[EpochResult.parse(result) for result in plain["history"]],
            exact=plain["exact"],
            stop_reason=plain["stop_reason"] and StopReason(plain["stop_reason"]),
            initial_weights=plain.get("initial_weights"),
        )
