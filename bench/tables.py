"""Trains every recipe on real images through the platform's queue and writes the tables of docs.

``python -m bench.tables`` goes on where it was left: each finished training is a line of ``docs/results.jsonl``, which
stands beside the page, so that another checkout goes on too.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from bench.cells import DATASETS, Cell, Outcome, find_missing, keep_outcome, make_grid, read_outcomes
from bench.command import end_in_order
from bench.dot_plot import draw_plot
from bench.machine import describe_machine
from bench.mnist_zip import write_zip
from bench.platform import BenchError, Platform, open_platform
from bench.results_page import write_page
from client.types import Dataset, Job
from core.domain.presets import PRESETS

DOCS = Path(__file__).parents[1] / "docs"
PAGE, RECORDS = "results.md", "results.jsonl"
_PATIENCE_SECONDS = 4 * 3600.0


def find_datasets(data: Path, names: Sequence[str]) -> list[str]:
    """Return those of ``names`` whose files are in the folder of real images."""
    return [name for name in names if (data / DATASETS[name].file).exists()]


def run_cells(
    platform: Platform, cells: Sequence[Cell], data: Path, *, is_over: Callable[[], bool]
) -> Iterator[Outcome]:
    """Run one cell after another until the time is over, and yield what each gave.

    Args:
        platform: Where to.
        cells: What to run, in this order.
        data: The folder of real images.
        is_over: Asked before each cell.
    """
    datasets: dict[str, Dataset] = {}
    for cell in cells:
        if is_over():
            return
        if cell.dataset not in datasets:
            datasets[cell.dataset] = platform.upload(_make_archive(data, cell.dataset, platform.data.parent))
        job = platform.client.jobs.submit(datasets[cell.dataset].id, cell.config, name=str(cell), tags=["tables"])
        yield measure(platform, cell, _await(platform, job.id))


def measure(platform: Platform, cell: Cell, job: Job) -> Outcome:
    """Return the outcome of a job that has ended."""
    outcome = Outcome(cell=cell, digest=cell.digest, machine=describe_machine().line(), at=_now())
    metrics = job.metrics
    if job.status != "succeeded" or not metrics or not job.started_at or not job.finished_at:
        return replace(outcome, error=job.error.sentence if job.error else job.status)
    epochs = platform.client.jobs.epochs(job.id)
    return replace(
        outcome,
        test_accuracy=metrics.test_accuracy,
        test_loss=metrics.test_loss,
        val_accuracy=metrics.val_accuracy,
        epochs=len(epochs),
        seconds=(job.finished_at - job.started_at).total_seconds(),
        images_per_second=statistics.median(epoch.images_per_second or 0 for epoch in epochs),
        parameters=job.parameters,
    )


def write_docs(docs: Path, grid: Sequence[Cell], outcomes: dict[Cell, Outcome]) -> None:
    """Write the page and a plot for each dataset that has an outcome."""
    for dataset in DATASETS:
        own = [outcome for cell, outcome in outcomes.items() if cell.dataset == dataset and not outcome.error]
        if own:
            (docs / f"results-{dataset}.svg").write_text(draw_plot(DATASETS[dataset].title, own), encoding="utf-8")
    (docs / PAGE).write_text(write_page(grid, outcomes), encoding="utf-8")


def _make_archive(data: Path, name: str, folder: Path) -> Path:
    source = data / DATASETS[name].file
    if source.suffix == ".zip":
        return source
    target = folder / f"{name}.zip"
    write_zip(source.parent, target)
    return target


def _await(platform: Platform, job_id: str) -> Job:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not (job := platform.client.jobs.get(job_id)).ended:
        if time.monotonic() > deadline:
            raise BenchError(f"{job_id} is still {job.status}")
        time.sleep(0.5)
    return job


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.tables", description=__doc__.partition("\n")[0])
    parser.add_argument("--datasets", nargs="+", choices=DATASETS, default=list(DATASETS))
    parser.add_argument("--recipes", nargs="+", choices=PRESETS, default=list(PRESETS))
    parser.add_argument("--seeds", nargs="+", type=int, help="as many as each row is to have, if not said")
    parser.add_argument("--budget-minutes", type=float, help="begin no training after so long; 0 only writes the page")
    parser.add_argument("--threads", type=int, default=1, help="torch threads of the training")
    parser.add_argument("--data", type=Path, default=os.environ.get("LENET_TEST_DATA"), help="folder of real images")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of the page, the plots and what was run")
    return parser.parse_args()


def main() -> None:
    """Run what is missing, then write the docs of all that was run, whatever ended the running."""
    options = _parse_arguments()
    end_in_order()
    file = options.docs / RECORDS
    data = Path(options.data or "")
    found = find_datasets(data, options.datasets) if options.data else []
    if missing := [name for name in options.datasets if name not in found]:
        print(f"not in LENET_TEST_DATA, so not run: {', '.join(missing)}", file=sys.stderr)
    cells = find_missing(make_grid(found, options.recipes, options.seeds), read_outcomes(file))
    budget = float("inf") if options.budget_minutes is None else 60 * options.budget_minutes
    try:
        if cells and budget:
            _run(cells, file, data, budget_seconds=budget, threads=options.threads)
    finally:
        outcomes = read_outcomes(file)
        write_docs(options.docs, make_grid(DATASETS, PRESETS), outcomes)
        print(f"{len(outcomes)} trainings in {options.docs / PAGE}")


def _run(cells: Sequence[Cell], file: Path, data: Path, *, budget_seconds: float, threads: int) -> None:
    end = time.monotonic() + budget_seconds
    with open_platform(worker_slots=1, worker_threads=threads) as platform:
        for outcome in run_cells(platform, cells, data, is_over=lambda: time.monotonic() > end):
            keep_outcome(file, outcome)
            figure = outcome.error or f"{outcome.test_accuracy:.4f} in {outcome.seconds:.0f} s"
            print(f"{outcome.cell}: {figure}", flush=True)


if __name__ == "__main__":
    main()
