"""Ensembles on their way from the store into memory: their members, what their vote is worth, their one file."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from api.auth import principal
from api.models import StoredFile, read_whole
from api.ports import ports
from core import logs
from core.db.engine import reading, transaction
from core.domain.exports import TEST_PREDICTIONS
from core.errors import ConflictError, Fault, IntegrityError, ObjectNotFoundError
from core.inference.ensembles import Voter
from core.inference.predictor import Predictor
from core.inference.vote_score import TestAnswers, score_vote
from core.services import ensembles
from core.services.ensembles import Ballots, NewEnsemble
from core.services.results import StoredArtifact

MODEL = "model.onnx"
# More answers than any of these nets is tested on; past it the vote is not measured while a client waits.
_MOST_ANSWER_BYTES = 256 * 2**20
_log = logs.get(__name__)


def find_ballots(ensemble_id: str) -> Ballots:
    """Return how an ensemble of whoever asks votes; raises as `core.services.ensembles.find_ballots`."""
    with reading(ports().sessions) as connection:
        return ensembles.find_ballots(connection, principal().tenant_id, ensemble_id)


def load_voters(ballots: Ballots) -> list[Voter]:
    """Return the members, ready to predict; raises as `api.models.read_whole`."""
    return [Voter(job_id, ports().models.get(_to_file(model)), weight) for job_id, weight, model in ballots.members]


def compare_classes(job_ids: Sequence[str]) -> list[str]:
    """Return the class names of jobs that have succeeded.

    Raises:
        NotFoundError: A job is not this tenant's.
        InvalidError: ``incompatible_members``: jobs have not succeeded, or have other classes; each is named.
    """
    with transaction(ports().sessions) as session:
        ensembles.check_members(session, principal().tenant_id, job_ids)
        models = ensembles.list_files(session, principal().tenant_id, job_ids, MODEL)
    found = [_load(models[job_id]).classes for job_id in job_ids]
    faults = [
        Fault(f"/job_ids/{place}", "has other classes than the first job")
        for place, classes in enumerate(found)
        if classes != found[0]
    ]
    ensembles.refuse_members("Some jobs are not of the same classes.", faults)
    return list(found[0])


def measure_vote(job_ids: Sequence[str], wanted: NewEnsemble) -> dict[str, Any] | None:
    """Return what the vote of jobs is worth on their test images; ``None`` where that cannot be said."""
    with transaction(ports().sessions, read_only=True) as session:
        files = ensembles.list_files(session, principal().tenant_id, job_ids, TEST_PREDICTIONS)
    if sum(file.size_bytes for file in files.values()) > _MOST_ANSWER_BYTES:
        return None
    answers = [_read_answers(files, job_id) for job_id in job_ids]
    score = score_vote(answers, voting=wanted.voting, weights=wanted.weights)
    return None if score is None else asdict(score)


def find_merged(ensemble_id: str) -> StoredFile | None:
    """Return an ensemble's one file, ``None`` while a worker makes it; raises as `ensembles.find_model`."""
    with transaction(ports().sessions, read_only=True) as session:
        stored = ensembles.find_model(session, principal().tenant_id, ensemble_id)
    return None if stored is None else StoredFile(stored.key, stored.size_bytes, stored.sha256)


def get_merged(ensemble_id: str) -> StoredFile:
    """Return an ensemble's one file; raises `ConflictError` (``ensemble_file_not_ready``) while it is made."""
    file = find_merged(ensemble_id)
    if file is None:
        raise ConflictError("The file is being made; ask again in a few seconds.", code="ensemble_file_not_ready")
    return file


def _read_answers(files: Mapping[str, StoredArtifact], job_id: str) -> TestAnswers | None:
    if job_id not in files:
        return None
    try:
        return TestAnswers.parse(read_whole(ports().store, _to_file(files[job_id])))
    except (IntegrityError, ObjectNotFoundError) as error:
        _log.warning("an ensemble is not measured", job=job_id, reason=error.detail)
        return None


def _load(model: StoredArtifact) -> Predictor:
    return ports().models.get(_to_file(model))


def _to_file(artifact: StoredArtifact) -> StoredFile:
    return StoredFile(artifact.key, artifact.size_bytes, artifact.sha256)
