"""Answers for people: tables and short texts for a terminal.

Whatever came from the platform is shown as plain text: it can hold neither markup nor control characters.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from client.measures import duration, moment, number, percent, plain, size, speed
from client.types import (
    Artifact,
    Dataset,
    Entry,
    Epoch,
    Estimate,
    Job,
    LogLine,
    Plan,
    Prediction,
    Queue,
    Report,
    Reproduction,
    Worker,
)

# What is not a terminal has no width; a narrow guess would cut ids that a script may want.
WIDTH_WITHOUT_TERMINAL = 160
MISTAKES_SHOWN = 10
EXAMPLES_SHOWN = 3
_STATUS_STYLES = {
    "queued": "yellow",
    "processing": "yellow",
    "running": "cyan",
    "paused": "magenta",
    "succeeded": "green",
    "ready": "green",
    "failed": "red",
    "rejected": "red",
    "cancelled": "bright_black",
}


def open_console() -> Console:
    """Return a console on the standard output."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH_WITHOUT_TERMINAL
    return console


def to_json(answer: BaseModel | Sequence[BaseModel]) -> str:
    """Return what the platform answered as indented JSON; a list as an array."""
    value = answer if isinstance(answer, BaseModel) else list(answer)
    dumped = _dump(value) if isinstance(value, BaseModel) else [_dump(item) for item in value]
    return json.dumps(dumped, indent=2, ensure_ascii=False)


def text(value: object, style: str = "") -> Text:
    """Return a value as text without markup or control characters; ``None`` as a dash."""
    if value is None or value == "":
        return Text("–", "bright_black")
    return Text(plain(value), style)


def status(word: str) -> Text:
    """Return a status in its colour."""
    return text(word, _STATUS_STYLES.get(word, ""))


def dataset_table(datasets: Sequence[Dataset]) -> RenderableType:
    """Return a list of datasets."""
    return table(
        ["id", "name", "status", "classes", "train", "test", "size", "created"],
        [
            [
                one.id,
                one.name,
                status(one.status),
                len(one.classes) if one.classes else None,
                one.images_in("train") or None,
                one.images_in("test") or None,
                size(one.size_bytes),
                moment(one.created_at),
            ]
            for one in datasets
        ],
    )


def dataset_view(dataset: Dataset) -> RenderableType:
    """Return one dataset with its counts, its warnings and why it was rejected."""
    parts: list[RenderableType] = [
        facts(
            {
                "id": dataset.id,
                "name": dataset.name,
                "status": status(dataset.status),
                "size": size(dataset.size_bytes),
                "sha256": dataset.sha256,
                "images": _images(dataset),
                "created": moment(dataset.created_at),
            }
        )
    ]
    if dataset.classes:
        parts.append(_class_counts(dataset))
    for warning in dataset.warnings or ():
        examples = ", ".join(warning.examples[:EXAMPLES_SHOWN])
        parts.append(text(f"warning {warning.code} ({warning.count}): {warning.detail} {examples}".rstrip(), "yellow"))
    if dataset.error:
        parts.append(text(f"error {dataset.error.code}: {dataset.error.sentence}", "red"))
        parts += [text(f"  {fault.pointer}: {fault.detail}", "red") for fault in dataset.error.errors]
    return Group(*parts)


def entry_table(entries: Sequence[Entry]) -> RenderableType:
    """Return the ledger of an archive."""
    return table(["outcome", "path", "reason"], [[one.outcome, one.path, one.reason] for one in entries])


def job_table(jobs: Sequence[Job]) -> RenderableType:
    """Return a list of jobs."""
    return table(
        ["id", "name", "status", "architecture", "epoch", "validation", "test", "worker", "created"],
        [
            [
                job.id,
                job.name,
                status(job.status),
                job.config.get("architecture"),
                epochs_done(job),
                percent(job.metrics.val_accuracy if job.metrics else None),
                percent(job.metrics.test_accuracy if job.metrics else None),
                job.worker,
                moment(job.created_at),
            ]
            for job in jobs
        ],
    )


def progress_table(jobs: Sequence[Job]) -> RenderableType:
    """Return jobs that train, each with a bar."""
    return table(
        ["job", "status", "progress", "epoch", "train", "validation", "images/s", "left"],
        [
            [
                job.name or job.id,
                status(job.status),
                ProgressBar(total=1.0, completed=fraction_done(job), width=24),
                epochs_done(job),
                percent(job.metrics.train_accuracy if job.metrics else None),
                percent(job.metrics.val_accuracy if job.metrics else None),
                speed(job.progress.images_per_second if job.progress and job.status == "running" else None),
                _left(job),
            ]
            for job in jobs
        ],
    )


def job_view(job: Job, *, with_config: bool = True) -> RenderableType:
    """Return one job, with its config unless that is not wanted."""
    metrics = job.metrics
    about = {
        "id": job.id,
        "name": job.name,
        "tags": ", ".join(job.tags),
        "dataset": job.dataset_id,
        "status": status(job.status),
        "jobs ahead": job.jobs_ahead if job.status == "queued" else None,
        "waits because": job.status_reason,
        "attempt": job.attempt,
        "epoch": epochs_done(job),
        "train accuracy": percent(metrics.train_accuracy) if metrics else None,
        "validation accuracy": percent(metrics.val_accuracy) if metrics else None,
        "test accuracy": percent(metrics.test_accuracy) if metrics else None,
        "stopped by": job.stop_reason,
        "weights": f"{job.parameters:,}" if job.parameters is not None else None,
        "trained on": " ".join(filter(None, [job.device, f"of {job.worker}" if job.worker else None])),
        "created": moment(job.created_at),
        "started": moment(job.started_at),
        "finished": moment(job.finished_at),
    }
    known = {name: value for name, value in about.items() if value is not None and value != ""}
    parts: list[RenderableType] = [facts(known)]
    if job.config and with_config:
        parts += [Text("config", "bold"), _options(job.config)]
    if job.error:
        parts.append(text(f"error {job.error.code}: {job.error.sentence}", "red"))
    return Group(*parts)


def progress_line(job: Job) -> str:
    """Return where a job is in one line, for an output that is not a terminal."""
    metrics = job.metrics
    validation, test = (percent(metrics.val_accuracy), percent(metrics.test_accuracy)) if metrics else (None, None)
    words = [
        job.name or job.id,
        job.status,
        f"epoch {epochs_done(job)}" if epochs_done(job) else None,
        f"validation accuracy {validation}" if validation else None,
        f"test accuracy {test}" if test else None,
        f"{_left(job)} left" if _left(job) else None,
        job.status_reason,
        f"error {job.error.code}: {job.error.sentence}" if job.error else None,
    ]
    return plain("  ".join(filter(None, words)))


def epoch_table(epochs: Sequence[Epoch]) -> RenderableType:
    """Return the epochs of a job."""
    return table(
        ["epoch", "train loss", "train", "val loss", "validation", "learning rate", "seconds", "images/s"],
        [
            [
                one.epoch,
                number(one.train_loss),
                percent(one.train_accuracy),
                number(one.val_loss),
                percent(one.val_accuracy),
                number(one.learning_rate),
                number(one.seconds),
                speed(one.images_per_second),
            ]
            for one in epochs
        ],
    )


def log_view(lines: Sequence[LogLine]) -> RenderableType:
    """Return log lines as they would stand in a file."""
    rows = (" ".join(filter(None, [moment(line.at), line.level, line.message])) for line in lines)
    return Group(*(text(row) for row in rows))


def report_view(report: Report) -> RenderableType:
    """Return the test metrics of a job: each class, the confusion matrix, the worst mistakes."""
    classes = report.classes or [score.class_name for score in report.per_class]
    parts: list[RenderableType] = [
        facts(_figures(report)),
        table(
            ["class", "precision", "recall", "f1", "images"],
            [
                [one.class_name, percent(one.precision), percent(one.recall), percent(one.f1), one.support]
                for one in report.per_class
            ],
        ),
    ]
    if report.confusion_matrix and len(classes) == len(report.confusion_matrix):
        parts.append(
            table(
                ["true \\ predicted", *classes],
                [[name, *row] for name, row in zip(classes, report.confusion_matrix, strict=True)],
            )
        )
    if report.mistakes:
        parts.append(
            table(
                ["worst mistakes", "true", "predicted", "confidence"],
                [
                    [one.path, one.true, one.predicted, percent(one.confidence)]
                    for one in report.mistakes[:MISTAKES_SHOWN]
                ],
            )
        )
    if report.label_suspicions:
        parts.append(
            table(
                ["labels that look wrong", "split", "label", "suggested", "confidence"],
                [
                    [one.path, one.split, one.label, one.suggested, percent(one.confidence)]
                    for one in report.label_suspicions[:MISTAKES_SHOWN]
                ],
            )
        )
    return Group(*parts)


def reproduction_view(found: Reproduction) -> RenderableType:
    """Return whether a training came out the same, and what was not the same about it."""
    if found.equal_weights and found.sha256 == found.again_sha256:
        verdict = text(f"The weights are equal to the bit: model.safetensors is {found.sha256} in both.", "green")
    elif found.equal_weights:
        verdict = text("The weights are equal to the bit; what the files say of themselves differs.", "green")
    else:
        verdict = text("The weights differ.", "red")
    rows = [[name, *values] for name, values in found.differences.items()]
    made = table(["made with", found.job_id, found.again_id], rows)
    return Group(facts({"job": found.job_id, "again": found.again_id}), verdict, *([made] if rows else []))


def prediction_table(predictions: Sequence[Prediction]) -> RenderableType:
    """Return what a model takes images for."""
    return table(
        ["file", "class", "confidence", "most probable"],
        [
            [
                one.filename,
                text(one.class_name, "bold"),
                percent(one.confidence),
                "  ".join(f"{other.class_name} {percent(other.probability, 1)}" for other in one.top),
            ]
            for one in predictions
        ],
    )


def artifact_table(artifacts: Sequence[Artifact]) -> RenderableType:
    """Return the files of a job."""
    return table(
        ["name", "size", "type", "sha256"],
        [[one.name, size(one.size_bytes), one.media_type, one.sha256] for one in artifacts],
    )


def worker_table(workers: Sequence[Worker]) -> RenderableType:
    """Return the worker pool."""
    return table(
        ["worker", "host", "role", "device", "engines", "busy", "slots", "busy with", "last heartbeat"],
        [
            [
                *(one.name, one.host, one.role, one.device, ", ".join(one.engines), one.busy, one.slots),
                ", ".join(one.busy_jobs),
                moment(one.last_heartbeat_at),
            ]
            for one in workers
        ],
    )


def queue_table(queues: Sequence[Queue]) -> RenderableType:
    """Return how much waits in each queue."""
    return table(
        ["queue", "waiting", "oldest waits for"],
        [[one.name, one.depth, duration(one.oldest_wait_seconds)] for one in queues],
    )


def _figures(report: Report) -> dict[str, object]:
    """Return the figures of all test images together; those that are not known are left out but for the first two."""
    more = {
        **{f"among the {top.k} most probable": percent(top.accuracy) for top in report.top_accuracy if top.k > 1},
        "mean F1": percent(report.averages.f1) if report.averages else None,
        "calibration error": percent(report.calibration_error),
    }
    if report.leaked_images:
        more[f"without {report.leaked_images:,} leaked images"] = percent(report.accuracy_without_leaks)
    known = {name: value for name, value in more.items() if value is not None}
    return {"test accuracy": percent(report.accuracy), "test loss": number(report.loss), **known}


def plan_view(plan: Plan) -> RenderableType:
    """Return what a job would be."""
    estimate = plan.estimate or Estimate()
    return Group(
        Text("config", "bold"),
        _options(plan.config),
        Text("layers", "bold"),
        table(*_columns(plan.layers)),
        facts(
            {
                "weights": plan.parameters,
                "seconds per epoch": number(estimate.seconds_per_epoch),
                "whole training": duration(estimate.total_seconds),
                "wait in the queue": duration(estimate.queue_wait_seconds),
            }
        ),
    )


def fraction_done(job: Job) -> float:
    """Return how much of a job is done, 0-1."""
    if job.status == "succeeded":
        return 1.0
    return (job.progress.fraction if job.progress else None) or 0.0


def epochs_done(job: Job) -> str | None:
    """Return the epoch that a job is in, of how many."""
    progress = job.progress
    if progress is None or progress.epoch is None:
        return None
    return f"{progress.epoch}/{progress.epochs}" if progress.epochs else str(progress.epoch)


def _dump(value: BaseModel) -> dict[str, Any]:
    return value.model_dump(mode="json", by_alias=True, exclude_unset=True)


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """Return rows under their heads; what is no text yet is shown plainly."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for head in heads:
        made.add_column(text(head), overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text | ProgressBar) else text(cell) for cell in row))
    return made


def facts(named: Mapping[str, object]) -> Table:
    """Return values beside their names."""
    made = Table.grid(padding=(0, 2))
    made.add_column(style="bold")
    made.add_column(overflow="fold")
    for name, value in named.items():
        made.add_row(name, value if isinstance(value, Text) else text(value))
    return made


def _options(config: Mapping[str, Any]) -> Table:
    return facts({f"  {name}": json.dumps(value, ensure_ascii=False) for name, value in config.items()})


def _columns(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[object]]]:
    heads = list(dict.fromkeys(name for row in rows for name in row))
    return heads, [[_shape(row.get(name)) for name in heads] for row in rows]


def _shape(value: object) -> object:
    return "×".join(map(str, value)) if isinstance(value, list) else value


def _class_counts(dataset: Dataset) -> Table:
    splits = [name for name, counts in (dataset.counts or {}).items() if counts]
    rows = [
        [name, *(((dataset.counts or {}).get(split) or {}).get(name, 0) for split in splits)]
        for name in dataset.classes or ()
    ]
    return table(["class", *splits], rows)


def _images(dataset: Dataset) -> str | None:
    images = dataset.images
    if images is None:
        return None
    low, high = images.min_size, images.max_size
    sizes = f", {low[0]}×{low[1]} to {high[0]}×{high[1]}" if low and high else ""
    return f"{images.total:,} {dataset.color_mode or ''}{sizes}"


def _left(job: Job) -> str | None:
    return duration(job.progress.eta_seconds) if job.progress and job.status == "running" else None
