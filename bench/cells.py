"""The cells of the published comparison: which trainings it has, and what is kept of those that were run."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

from core.domain.presets import PRESETS
from core.domain.training_config import resolve


@dataclass(frozen=True)
class Pictures:
    """A dataset of the comparison.

    Attributes:
        title: What people call it.
        file: Its file in the folder of real images; of several, one.
        recipes: Which of them are trained on it.
    """

    title: str
    file: str
    recipes: tuple[str, ...] = tuple(PRESETS)


DATASETS: Mapping[str, Pictures] = {
    "mnist": Pictures("MNIST", "mnist/train-images-idx3-ubyte.gz"),
    "fashion-mnist": Pictures("Fashion-MNIST", "fashion-mnist/train-images-idx3-ubyte.gz"),
    "cifar10": Pictures("CIFAR-10", "cifar10-jpg.zip"),
    "sign-digits": Pictures("Sign digits: 1,651 photos of ten hand signs", "sign-digits.zip", ("lenet5-modern",)),
    "produce-photos": Pictures("Produce: 127 photos of eight kinds", "produce-photos.zip", ("lenet5-modern",)),
}
"""The datasets by name."""


@dataclass(frozen=True)
class Goal:
    """What a recipe is held to on a dataset: the mean of ``what`` over ``seeds`` must be at least ``bound`` (0–1)."""

    what: Literal["test", "val"]
    bound: float
    seeds: int = 3


GOALS: Mapping[tuple[str, str], Goal] = {
    ("mnist", "lenet5-1998"): Goal("test", 0.9905),
    ("mnist", "lenet5-1998-distorted"): Goal("test", 0.992),
    ("mnist", "lenet5-sigmoid"): Goal("val", 0.9872),
    ("mnist", "lenet5-relu"): Goal("val", 0.9892),
    ("mnist", "lenet5-relu-max"): Goal("val", 0.9891),
    ("mnist", "lenet-wide"): Goal("test", 0.9916),
    ("mnist", "lenet5-modern"): Goal("test", 0.994),
    ("mnist", "fast"): Goal("test", 0.99),
    ("mnist", "best"): Goal("test", 0.996, seeds=5),
    ("cifar10", "lenet5-modern"): Goal("test", 0.7),
    ("sign-digits", "lenet5-modern"): Goal("test", 0.99, seeds=5),
    ("produce-photos", "lenet5-modern"): Goal("test", 0.65, seeds=5),
}
"""What recipes are held to, by dataset and recipe. The classic rows' published figures are of validation."""

_SEEDS = 3


@dataclass(frozen=True)
class Cell:
    """One training: a recipe with a seed on a dataset."""

    dataset: str
    recipe: str
    seed: int

    @property
    def config(self) -> dict[str, Any]:
        """What is submitted."""
        return {"preset": self.recipe, "seed": self.seed}

    @property
    def digest(self) -> str:
        """Of every option that it stands for: another version's recipe of the same name is another training."""
        options = json.dumps(resolve(self.config).plain(), sort_keys=True)
        return hashlib.sha256(options.encode()).hexdigest()[:16]

    def __str__(self) -> str:
        return f"{self.dataset} {self.recipe} seed {self.seed}"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a cell gave. Accuracies 0–1; what was not measured is ``None``.

    Attributes:
        cell: Which one.
        digest: The cell's when it was run.
        error: Why it failed, in which case it has no figures.
        test_accuracy: On the test split, looked at once.
        test_loss: Mean cross-entropy there.
        val_accuracy: On the validation images, of the weights that were kept.
        epochs: How many were run.
        seconds: From the start of the training to its last file, by the platform's clock.
        images_per_second: The median of the epochs.
        parameters: Trained weights.
        machine: What it ran on, in a line.
        at: When it ended (RFC 3339).
    """

    cell: Cell
    digest: str
    error: str | None = None
    test_accuracy: float | None = None
    test_loss: float | None = None
    val_accuracy: float | None = None
    epochs: int | None = None
    seconds: float | None = None
    images_per_second: float | None = None
    parameters: int | None = None
    machine: str = ""
    at: str = ""

    @property
    def is_current(self) -> bool:
        """Whether the recipe is still what it was."""
        return self.cell.recipe in PRESETS and self.digest == self.cell.digest

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    @classmethod
    def parse(cls, plain: Mapping[str, Any]) -> "Outcome":
        """Return what `plain` came from."""
        return cls(**{**plain, "cell": Cell(**plain["cell"])})


def make_grid(datasets: Iterable[str], recipes: Iterable[str], seeds: Iterable[int] | None = None) -> list[Cell]:
    """Return the cells, seed by seed: what is cut short has every recipe once before it has one twice.

    Args:
        datasets: Names of `DATASETS`.
        recipes: Of these, each dataset is trained by those that it names.
        seeds: As many as each goal asks for, and three where there is none, if they are not said.
    """
    pairs = [
        (dataset, recipe) for dataset, recipe in product(datasets, list(recipes)) if recipe in DATASETS[dataset].recipes
    ]
    own = {pair: list(range(count_seeds(*pair)) if seeds is None else seeds) for pair in pairs}
    cells = [Cell(dataset, recipe, seed) for (dataset, recipe), all_seeds in own.items() for seed in all_seeds]
    return sorted(cells, key=lambda cell: cell.seed)


def count_seeds(dataset: str, recipe: str) -> int:
    """Return how many seeds a recipe is trained with on a dataset."""
    goal = GOALS.get((dataset, recipe))
    return goal.seeds if goal else _SEEDS


def read_outcomes(file: Path) -> dict[Cell, Outcome]:
    """Return the newest outcome of each cell whose recipe is still the same; none where there is no file."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    outcomes = [Outcome.parse(json.loads(line)) for line in lines]
    return {outcome.cell: outcome for outcome in outcomes if outcome.is_current}


def keep_outcome(file: Path, outcome: Outcome) -> None:
    """Add an outcome to the file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(outcome.plain(), ensure_ascii=False) + "\n")


def find_missing(grid: Sequence[Cell], outcomes: Mapping[Cell, Outcome]) -> list[Cell]:
    """Return the cells of the grid that have no figures yet: those that failed are run again."""
    return [cell for cell in grid if cell not in outcomes or outcomes[cell].error]
