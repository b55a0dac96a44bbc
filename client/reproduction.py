"""Training a job again, and saying whether the same weights came of it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from client.errors import DamagedDownloadError, InputError
from client.types import Job, Report, Reproduction

WEIGHTS = "model.safetensors"
_STOPPED = "stopped"
_LENGTH_BYTES = 8


def repeat(job: Job, report: Report) -> dict[str, Any]:
    """Return what `client.jobs.Jobs.submit` is to be given to train a job again: its dataset and its whole config.

    Raises:
        InputError: It was stopped by hand, so that its config alone does not say when it ended; or it is older than
            provenance.
    """
    if job.stop_reason == _STOPPED:
        raise InputError(f"{job.id} was stopped by hand: its config does not say when, so it cannot be repeated.")
    if "config" not in report.provenance or job.dataset_id is None:
        raise InputError(f"{job.id} does not say what it was made of: it is older than provenance.")
    return {
        "dataset_id": job.dataset_id,
        "config": json.loads(report.provenance["config"]),
        "name": f"{job.name or job.id}, again"[:255],
        "priority": job.priority,
        "tags": job.tags,
        "from_job": job.from_job if job.warm_start else None,
        "warm_start": job.warm_start,
    }


@dataclass(frozen=True)
class Trained:
    """What a job left, as far as two are compared.

    Attributes:
        job_id: Which one.
        sha256: Of the file of its weights; ``None`` where it left none.
        causes: By name, what decides its weights: what it was made of, and whether it was resumed elsewhere.
        fetch: Returns the bytes of that file.
    """

    job_id: str
    sha256: str | None
    causes: Mapping[str, str]
    fetch: Callable[[], bytes]


def compare(first: Trained, again: Trained) -> Reproduction:
    """Say whether the same weights came of both, and what went into only one; the files are fetched if need be."""
    return Reproduction(
        job_id=first.job_id,
        again_id=again.job_id,
        sha256=first.sha256,
        again_sha256=again.sha256,
        # Equal files need no second look; unequal ones may differ in what they say of themselves alone.
        equal_weights=first.sha256 == again.sha256 or _read(first) == _read(again),
        differences=_differ(first.causes, again.causes),
    )


def _read(trained: Trained) -> tuple[dict[str, Any], bytes]:
    """Return the table of the weights and their bytes, without the file's metadata.

    The form is safetensors': the header's length in 8 bytes, the header as JSON, the numbers.
    """
    content = trained.fetch()
    start = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    try:
        table: dict[str, Any] = json.loads(content[_LENGTH_BYTES:start])
    except ValueError as error:
        raise DamagedDownloadError(f"{WEIGHTS} of {trained.job_id} cannot be read.") from error
    table.pop("__metadata__", None)
    return table, content[start:]


def _differ(first: Mapping[str, str], again: Mapping[str, str]) -> dict[str, tuple[str | None, str | None]]:
    names = sorted(first.keys() | again.keys())
    return {name: (first.get(name), again.get(name)) for name in names if first.get(name) != again.get(name)}
