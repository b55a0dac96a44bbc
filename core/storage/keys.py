"""The only builder of object keys, and the only judge of one. Nothing that a client sends becomes part of a key.

::

    tenants/{tenant}/datasets/{dataset}/archive
    tenants/{tenant}/datasets/{dataset}/preview
    tenants/{tenant}/datasets/{dataset}/packs/{size}-{mode}-{digest}
    tenants/{tenant}/jobs/{job}/a{attempt}/checkpoints/{epoch}-{batch}
    tenants/{tenant}/jobs/{job}/a{attempt}/artifacts/{name}
    tenants/{tenant}/jobs/{job}/evaluations/{evaluation}/a{attempt}/report
    tenants/{tenant}/ensembles/{ensemble}/model-{digest}

What an attempt writes lies under its own number, so that a worker that lost its lease cannot overwrite what a
newer attempt has written.
"""

import re

from core.domain.datasets import ColorMode
from core.errors import InvalidError

_PART = re.compile(r"[a-z0-9_-][a-z0-9_.-]*")
_MAX_PART_LENGTH, _MAX_KEY_LENGTH = 255, 1024


def dataset_prefix(tenant_id: str, dataset_id: str) -> str:
    """Return the prefix of everything that belongs to a dataset."""
    return _join("tenants", tenant_id, "datasets", dataset_id)


def dataset_archive(tenant_id: str, dataset_id: str) -> str:
    """Return the key of a dataset's archive, as it was uploaded."""
    return _join(dataset_prefix(tenant_id, dataset_id), "archive")


def dataset_preview(tenant_id: str, dataset_id: str) -> str:
    """Return the key of a dataset's contact sheet."""
    return _join(dataset_prefix(tenant_id, dataset_id), "preview")


def pack(tenant_id: str, dataset_id: str, *, image_size: int, color_mode: ColorMode, digest: str) -> str:
    """Return the key of a pack.

    Args:
        tenant_id: The dataset's tenant.
        dataset_id: The dataset that the pack is made of.
        image_size: Side of each image in pixels.
        color_mode: ``grayscale`` or ``rgb``.
        digest: What tells packs of one size and mode apart, in hexadecimal.
    """
    return _join(dataset_prefix(tenant_id, dataset_id), "packs", f"{image_size}-{color_mode}-{digest}")


def job_prefix(tenant_id: str, job_id: str) -> str:
    """Return the prefix of everything that a job's attempts wrote."""
    return _join("tenants", tenant_id, "jobs", job_id)


def checkpoint(tenant_id: str, job_id: str, *, attempt: int, epoch: int, batch: int) -> str:
    """Return the key of the checkpoint that ``attempt`` wrote after ``batch`` batches of ``epoch``."""
    return _join(job_prefix(tenant_id, job_id), f"a{attempt}", "checkpoints", f"{epoch}-{batch}")


def artifact(tenant_id: str, job_id: str, *, attempt: int, name: str) -> str:
    """Return the key of the artifact ``name`` as ``attempt`` wrote it."""
    return _join(job_prefix(tenant_id, job_id), f"a{attempt}", "artifacts", name)


def evaluation_prefix(tenant_id: str, job_id: str, evaluation_id: str) -> str:
    """Return the prefix of everything that an evaluation's attempts wrote; it goes with the job."""
    return _join(job_prefix(tenant_id, job_id), "evaluations", evaluation_id)


def evaluation_report(tenant_id: str, job_id: str, evaluation_id: str, *, attempt: int) -> str:
    """Return the key of an evaluation's report as ``attempt`` wrote it."""
    return _join(evaluation_prefix(tenant_id, job_id, evaluation_id), f"a{attempt}", "report")


def ensemble_prefix(tenant_id: str, ensemble_id: str) -> str:
    """Return the prefix of everything that belongs to an ensemble."""
    return _join("tenants", tenant_id, "ensembles", ensemble_id)


def ensemble_model(tenant_id: str, ensemble_id: str, *, digest: str) -> str:
    """Return the key of an ensemble's one file, whose SHA-256 is ``digest``."""
    return _join(ensemble_prefix(tenant_id, ensemble_id), f"model-{digest}")


def check_key(key: str) -> None:
    """Refuse what could leave the store's root or meet a file of the store's own.

    Raises:
        InvalidError: A part is empty, begins with a dot, or holds anything but ``a-z 0-9 _ . -``; or the key
            is longer than every store takes.
    """
    parts = key.split("/")
    if len(key) > _MAX_KEY_LENGTH or not all(is_part(part) for part in parts):
        raise InvalidError("This is not a key of the object store.", code="invalid_key")


def is_part(name: str) -> bool:
    """Return whether ``name`` may stand between two slashes of a key."""
    return len(name) <= _MAX_PART_LENGTH and ".." not in name and _PART.fullmatch(name) is not None


def folder_of(prefix: str) -> str:
    """Return ``prefix`` with one slash at its end, ``""`` for the whole store: prefixes name whole parts only.

    Raises:
        InvalidError: The prefix could not begin a key.
    """
    stripped = prefix.removesuffix("/")
    if not stripped:
        return ""
    check_key(stripped)
    return stripped + "/"


def _join(*parts: str) -> str:
    for part in parts[1:]:
        if "/" in part:
            raise InvalidError("This is not a part of a key.", code="invalid_key")
    key = "/".join(parts)
    check_key(key)
    return key
