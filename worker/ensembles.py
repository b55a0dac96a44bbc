"""Forms the ensembles whose members have all been trained since the last look, and makes each one's one file."""

import contextlib
import hashlib
import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core import logs
from core.db.engine import transaction
from core.domain.exports import TEST_PREDICTIONS
from core.errors import IntegrityError, LenetError, NotFoundError, ObjectNotFoundError
from core.inference.vote_score import TestAnswers, score_vote
from core.services.ensembles import (
    Ensemble,
    find_ballots,
    find_unformed,
    find_unmerged,
    form_ensemble,
    get_ensemble,
    list_files,
    record_model,
    record_model_error,
)
from core.services.results import StoredArtifact
from core.storage.keys import ensemble_model
from worker.host import Host

_log = logs.get(__name__)
_MOST_FETCHES = 3


def form_ensembles(host: Host) -> None:
    """Measure each such ensemble and make it ready; any number of workers at once do nothing twice.

    Raises:
        UnavailableError: The database or the store does not answer; the next look goes on.
    """
    with transaction(host.sessions, read_only=True) as session:
        found = find_unformed(session)
    for tenant_id, ensemble_id in found:
        try:
            _form(host, tenant_id, ensemble_id)
        except NotFoundError:
            _log.info("an ensemble was deleted before it was formed", ensemble=ensemble_id)
        except OSError as error:  # This machine's trouble, as a full disk: it must not keep the others from theirs.
            _log.error("an ensemble cannot be formed now", ensemble=ensemble_id, reason=error.strerror)


def merge_ensembles(host: Host) -> None:
    """Make the one file of each ensemble that has none yet.

    Raises:
        UnavailableError: The database or the store does not answer; the next look goes on.
    """
    with transaction(host.sessions, read_only=True) as session:
        found = find_unmerged(session)
    for tenant_id, ensemble_id in found:
        try:
            _store_merged(host, tenant_id, ensemble_id)
        except NotFoundError:
            _log.info("an ensemble was deleted before its file was made", ensemble=ensemble_id)
        except (IntegrityError, ObjectNotFoundError) as error:
            _give_up(host, ensemble_id, code=error.code, detail=error.detail)
        except (OSError, MemoryError) as error:
            # This machine's trouble, as a full disk: the next look, or another worker, tries again.
            _log.error("an ensemble's file cannot be made now", ensemble=ensemble_id, reason=str(error))
        except LenetError:
            raise
        except Exception as error:  # noqa: BLE001 - one that cannot be made must not keep all others from it
            _log.exception("merging met a defect", ensemble=ensemble_id)
            _give_up(host, ensemble_id, code="merge_failed", detail=f"Merging failed: {type(error).__name__}.")


def _give_up(host: Host, ensemble_id: str, *, code: str, detail: str) -> None:
    _log.error("an ensemble's file cannot be made", ensemble=ensemble_id, reason=detail)
    with transaction(host.sessions) as session:
        record_model_error(session, ensemble_id, code=code, detail=detail)


def _store_merged(host: Host, tenant_id: str, ensemble_id: str) -> None:
    from core.inference.merging import Part, merge_models  # noqa: PLC0415 - large, and only this needs it

    with transaction(host.sessions, read_only=True) as session:
        ballots = find_ballots(session, tenant_id, ensemble_id)
    with host.scratch("ensemble") as folder:
        parts = []
        for job_id, weight, model in ballots.members:
            _fetch(host, model, folder / "member")
            parts.append(Part(job_id, (folder / "member").read_bytes(), weight))
    content = merge_models(parts, voting=ballots.voting)
    key = ensemble_model(tenant_id, ensemble_id, digest=hashlib.sha256(content).hexdigest())
    stored = host.store.put(key, io.BytesIO(content))
    with transaction(host.sessions) as session:
        record_model(session, ensemble_id, stored)


def _form(host: Host, tenant_id: str, ensemble_id: str) -> None:
    with transaction(host.sessions, read_only=True) as session:
        ensemble = get_ensemble(session, tenant_id, ensemble_id)
        files = list_files(session, tenant_id, [member.job_id for member in ensemble.members], TEST_PREDICTIONS)
    metrics = _measure(host, ensemble, files)
    with transaction(host.sessions) as session:
        if form_ensemble(session, ensemble_id, metrics=metrics):
            _log.info("ensemble ready", ensemble=ensemble_id, **(metrics or {}))


def _measure(host: Host, ensemble: Ensemble, files: dict[str, StoredArtifact]) -> dict[str, Any] | None:
    with host.scratch("ensemble") as folder:
        answers = [_read(host, files.get(member.job_id), folder / "answers") for member in ensemble.members]
    weights = [member.weight for member in ensemble.members]
    score = score_vote(answers, voting=ensemble.voting, weights=weights)
    return None if score is None else asdict(score)


def _fetch(host: Host, file: StoredArtifact, path: Path) -> None:
    """Fetch a file; one that differs from what was recorded may have been altered on its way, and is asked for again.

    Raises:
        IntegrityError: It was wrong three times.
        ObjectNotFoundError: It is not there.
    """
    for _ in range(_MOST_FETCHES - 1):
        with contextlib.suppress(IntegrityError):
            host.store.fetch(file.key, path, sha256=file.sha256, size_bytes=file.size_bytes)
            return
    host.store.fetch(file.key, path, sha256=file.sha256, size_bytes=file.size_bytes)


def _read(host: Host, file: StoredArtifact | None, path: Path) -> TestAnswers | None:
    """Return a member's answers to the test images; without them the vote is formed and not measured."""
    if file is None:
        return None
    try:
        _fetch(host, file, path)
        return TestAnswers.parse(path.read_bytes())
    except (IntegrityError, ObjectNotFoundError) as error:
        _log.warning("an ensemble is not measured", reason=error.detail)
        return None
