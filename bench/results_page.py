"""The page of the published comparison, as Markdown."""

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from bench.cells import DATASETS, GOALS, Cell, Goal, Outcome

_COMMAND = "make tables"
_HEAD = f"""# Results

<!-- Written by `{_COMMAND}`: run it, do not edit. -->

Every recipe, trained with several seeds through the platform's own queue, one training at a time. Accuracy and loss
are those of the test split, which is looked at once, at the end of a training; a part of the training images
validates (a tenth, unless the recipe says otherwise). Means over the seeds, with the least and the most; "so far" is
said of fewer seeds than a row is to have. "not yet run" is what it says: the command goes on where it was left, and
`--datasets`, `--recipes`, `--seeds` and `--budget-minutes` choose what it runs. Seconds count the whole training, its
start and its files; a machine that does other things too makes them longer.

    LENET_TEST_DATA=folder-of-real-images {_COMMAND}
"""
_COLUMNS = ("recipe", "n", "test accuracy", "test loss", "epochs", "seconds", "images/s", "weights", "held to")


def write_page(grid: Sequence[Cell], outcomes: Mapping[Cell, Outcome]) -> str:
    """Return the page: a table for each dataset with a row for each recipe of the grid, run or not."""
    parts = [_HEAD, *_machines(outcomes.values())]
    for dataset in dict.fromkeys(cell.dataset for cell in grid):
        own = [outcome for cell, outcome in outcomes.items() if cell.dataset == dataset]
        recipes = list(dict.fromkeys(cell.recipe for cell in grid if cell.dataset == dataset))
        parts.append(f"## {DATASETS[dataset].title}\n")
        if any(not outcome.error for outcome in own):
            parts.append(f"![Test error and seconds of every recipe](results-{dataset}.svg)\n")
        parts.append("\n".join(_table(dataset, recipes, own)) + "\n")
    return "\n".join(parts)


def _machines(outcomes: Iterable[Outcome]) -> Iterator[str]:
    machines = sorted({outcome.machine for outcome in outcomes if outcome.machine})
    if machines:
        yield "Run on " + "; and on ".join(machines) + ".\n"


def _table(dataset: str, recipes: Sequence[str], outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield f"| {' | '.join(_COLUMNS)} |"
    yield f"| --- | {' | '.join(['---:'] * (len(_COLUMNS) - 2))} | --- |"
    for recipe in recipes:
        yield _row(dataset, recipe, [outcome for outcome in outcomes if outcome.cell.recipe == recipe])


def _row(dataset: str, recipe: str, outcomes: Sequence[Outcome]) -> str:
    run = sorted((outcome for outcome in outcomes if not outcome.error), key=lambda one: one.cell.seed)
    failed = [outcome.error for outcome in outcomes if outcome.error]
    if not run:
        return f"| `{recipe}` | 0 | {f'failed: {failed[0]}' if failed else 'not yet run'} |{' |' * (len(_COLUMNS) - 3)}"
    goal = GOALS.get((dataset, recipe))
    cells = (
        f"`{recipe}`",
        f"{len(run)}{f', {len(failed)} failed' if failed else ''}",
        _spread([one.test_accuracy for one in run], _percent),
        _spread([one.test_loss for one in run], lambda value: f"{value:.4f}"),
        _spread([one.epochs for one in run], lambda value: f"{value:.0f}"),
        _spread([one.seconds for one in run], lambda value: f"{value:.0f}"),
        _spread([one.images_per_second for one in run], lambda value: f"{value:,.0f}"),
        f"{run[0].parameters:,}",
        _judge(goal, run) if goal else "",
    )
    return f"| {' | '.join(cells)} |"


def _judge(goal: Goal, outcomes: Sequence[Outcome]) -> str:
    """Return the goal and whether it is reached."""
    found = [one.val_accuracy if goal.what == "val" else one.test_accuracy for one in outcomes]
    values = [value for value in found if value is not None]
    if not values:
        return f"{goal.what} ≥ {_percent(goal.bound)}: not measured"
    mean = statistics.mean(values)
    shown = "reached" if mean >= goal.bound else "MISSED"
    if len(values) < goal.seeds:
        shown += " so far"
    own = f" ({_percent(mean)})" if goal.what == "val" else ""
    return f"{goal.what} ≥ {_percent(goal.bound)}: {shown}{own}"


def _spread(values: Sequence[float | None], show: Callable[[float], str]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    least, most = show(min(known)), show(max(known))
    return show(statistics.mean(known)) + (f" ({least}–{most})" if least != most else "")


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
