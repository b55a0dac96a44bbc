"""Training a job again, and saying whether the same weights came of it."""

import io
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from client.errors import DamagedDownloadError, InputError
from client.types import Job, Reproduction

if TYPE_CHECKING:
    from client.jobs import Jobs

WEIGHTS = "model.safetensors"
_STOPPED = "stopped"
_LENGTH_BYTES = 8


def reproduce(jobs: "Jobs", job_id: str, *, on_update: Callable[[Job], None] | None = None) -> Reproduction:
    """Train a job that succeeded again, on the same dataset by the same whole config, and compare the weights.

    Args:
        jobs: The platform's.
        job_id: The job to repeat.
        on_update: Called with the new job first, and each time that it has changed.

    Raises:
        InputError: It was stopped by hand, so that its config alone does not say when it ended; or it is older than
            provenance.
        ConflictError: It has not succeeded.
        JobFailedError, JobCancelledError: The new job came to nothing.
    """
    first = jobs.get(job_id)
    if first.stop_reason == _STOPPED:
        raise InputError(f"{job_id} was stopped by hand: its config does not say when, so it cannot be repeated.")
    made_of = jobs.report(job_id).provenance
    if "config" not in made_of or first.dataset_id is None:
        raise InputError(f"{job_id} does not say what it was made of: it is older than provenance.")
    again = jobs.submit(
        first.dataset_id,
        json.loads(made_of["config"]),
        name=f"{first.name or first.id}, again"[:255],
        priority=first.priority,
        tags=first.tags,
        from_job=first.from_job if first.warm_start else None,
        warm_start=first.warm_start,
    )
    jobs.wait(again.id, on_update=on_update)
    return _compare(jobs, job_id, again.id)


def _compare(jobs: "Jobs", first: str, again: str) -> Reproduction:
    hashes = [_digest(jobs, job_id) for job_id in (first, again)]
    return Reproduction(
        job_id=first,
        again_id=again,
        sha256=hashes[0],
        again_sha256=hashes[1],
        # Equal files need no second look; unequal ones may differ in what they say of themselves alone.
        equal_weights=hashes[0] == hashes[1] or _read(jobs, first) == _read(jobs, again),
        differences=_differ(_list_causes(jobs, first), _list_causes(jobs, again)),
    )


def _list_causes(jobs: "Jobs", job_id: str) -> dict[str, str]:
    """Return by name what decides a job's weights: what it was made of, and whether it was resumed elsewhere."""
    causes = dict(jobs.report(job_id).provenance)
    exact = [attempt.exact_resume for attempt in jobs.attempts(job_id)]
    return causes | ({} if exact[-1:] in ([], [None]) else {"exact_resume": str(exact[-1]).lower()})


def _digest(jobs: "Jobs", job_id: str) -> str | None:
    return {artifact.name: artifact.sha256 for artifact in jobs.artifacts(job_id)}.get(WEIGHTS)


def _read(jobs: "Jobs", job_id: str) -> tuple[dict[str, Any], bytes]:
    """Return the table of the weights and their bytes, without the file's metadata.

    The form is safetensors': the header's length in 8 bytes, the header as JSON, the numbers.
    """
    stream = io.BytesIO()
    jobs.receive(job_id, WEIGHTS, stream)
    content = stream.getvalue()
    start = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    try:
        table: dict[str, Any] = json.loads(content[_LENGTH_BYTES:start])
    except ValueError as error:
        raise DamagedDownloadError(f"{WEIGHTS} of {job_id} cannot be read.") from error
    table.pop("__metadata__", None)
    return table, content[start:]


def _differ(first: Mapping[str, str], again: Mapping[str, str]) -> dict[str, tuple[str | None, str | None]]:
    names = sorted(first.keys() | again.keys())
    return {name: (first.get(name), again.get(name)) for name in names if first.get(name) != again.get(name)}
