"""Who still needs a job or a dataset: what an ensemble, a model or an evaluation stands on is not deleted."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.rows import EnsembleMemberRow, EvaluationRow, JobRow, ModelRow, ModelVersionRow
from core.domain.evaluations import UNFINISHED
from core.domain.jobs import ENDED
from core.errors import ConflictError


def refuse_job_deletion(session: Session, job_id: str) -> None:
    """Raise `ConflictError` (``job_in_use``) where an ensemble, a model, or unfinished work needs a job."""
    ensemble = select(EnsembleMemberRow.ensemble_id).where(EnsembleMemberRow.job_id == job_id).limit(1)
    model = (
        select(ModelRow.name)
        .join(ModelVersionRow, ModelVersionRow.model_id == ModelRow.id)
        .where(ModelVersionRow.job_id == job_id)
        .limit(1)
    )
    evaluation = (
        select(EvaluationRow.id).where(EvaluationRow.job_id == job_id, EvaluationRow.status.in_(UNFINISHED)).limit(1)
    )
    warm_start = (
        select(JobRow.id).where(JobRow.from_job == job_id, JobRow.warm_start, JobRow.status.not_in(ENDED)).limit(1)
    )
    for query, what in (
        (ensemble, "a member of {}; delete that first"),
        (model, "a version of the model {}; delete that first"),
        (evaluation, "looked at by {}; delete that first"),
        (warm_start, "what {} is to begin with; wait for its end, or cancel it"),
    ):
        if (user := session.scalar(query)) is not None:
            raise ConflictError(f"The job is {what.format(user)}.", code="job_in_use")


def refuse_dataset_deletion(session: Session, dataset_id: str) -> None:
    """Raise `ConflictError` (``dataset_in_use``) where an evaluation that has not ended uses a dataset."""
    used = (
        select(EvaluationRow.id)
        .where(EvaluationRow.dataset_id == dataset_id, EvaluationRow.status.in_(UNFINISHED))
        .limit(1)
    )
    if session.scalar(used) is not None:
        raise ConflictError("An evaluation that has not ended uses the dataset.", code="dataset_in_use")
