"""Evaluations, as requests ask for them and answers show them."""

from typing import Annotated, cast

from pydantic import Field

from api.schemas.base import Id, Moment, PageQuery, Shape, Wanted
from api.schemas.problems import StoredProblem, shape_stored
from core.db.rows import EvaluationRow
from core.domain.evaluations import EvaluationStatus, Part


class EvaluationRequest(Wanted):
    """A stored model is looked at on other images."""

    dataset_id: Annotated[Id, Field(description="A dataset of the same class names that is ready.")]
    split: Annotated[Part, Field(description="Which of its images.")] = "test"


class EvaluationQuery(PageQuery):
    """Which evaluations."""

    job_id: Annotated[Id | None, Field(description="Only those of this job's model.")] = None


class EvaluationMetrics(Shape):
    """What the model is worth on these images."""

    accuracy: Annotated[float, Field(description="Share of right answers, 0-1.")]
    loss: Annotated[float, Field(description="Mean cross-entropy in nats.")]
    images: int


class Evaluation(Shape):
    """A stored model looked at on other images."""

    id: str
    job_id: str
    dataset_id: str
    split: Part
    status: EvaluationStatus
    attempt: Annotated[int, Field(description="How often a worker has taken it.")]
    metrics: EvaluationMetrics | None
    error: Annotated[StoredProblem | None, Field(description="Why it failed.")]
    created_at: Moment
    started_at: Moment | None
    finished_at: Moment | None
    updated_at: Moment


def shape_evaluation(row: EvaluationRow) -> Evaluation:
    """Return an evaluation as answers show it."""
    return Evaluation(
        id=row.id,
        job_id=row.job_id,
        dataset_id=row.dataset_id,
        split=cast("Part", row.split),
        status=EvaluationStatus(row.status),
        attempt=row.attempt,
        metrics=None if row.metrics is None else EvaluationMetrics(**row.metrics),
        error=shape_stored("The evaluation failed", row.error),
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        updated_at=row.updated_at,
    )
