"""What of a training moves on, apart from the net and the optimiser."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from core.domain.jobs import StopReason
from core.training.contract import EpochResult

Weights = dict[str, torch.Tensor]


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
    """The best monitored value so far, and how many epochs ago it was."""

    epoch: int | None = None
    value: float = math.inf
    waited: int = 0
    weights: Weights | None = None


@dataclass
class Circumstances:
    """What decides, beside config and data, whether two trainings give the same weights to the bit."""

    threads: int
    device: str
    torch: str


@dataclass
class State:
    """Everything of a training that changes, apart from the net and the optimiser."""

    place: Place = field(default_factory=Place)
    best: Best = field(default_factory=Best)
    history: list[EpochResult] = field(default_factory=list)
    exact: bool = True
    stop_reason: StopReason | None = None

    def plain(self) -> dict[str, Any]:
        """Return it as tensors and plain values."""
        return {
            "place": asdict(self.place),
            "best": {**vars(self.best)},
            "history": [result.plain() for result in self.history],
            "exact": self.exact,
            "stop_reason": self.stop_reason and str(self.stop_reason),
        }

    @classmethod
    def parse(cls, plain: Mapping[str, Any]) -> "State":
        """Return what `plain` came from."""
        return cls(
            place=Place(**plain["place"]),
            best=Best(**plain["best"]),
            history=[EpochResult.parse(result) for result in plain["history"]],
            exact=plain["exact"],
            stop_reason=plain["stop_reason"] and StopReason(plain["stop_reason"]),
        )
