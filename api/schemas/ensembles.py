"""Ensembles, as requests ask for them and answers show them."""

from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from api.schemas.base import Id, Moment, Name, Shape, Wanted
from api.schemas.jobs import Tag
from api.schemas.problems import StoredProblem, shape_stored
from core.domain.ensembles import FEWEST_MEMBERS, MOST_MEMBERS, EnsembleStatus, Voting
from core.domain.jobs import JobStatus
from core.errors import Fault, InvalidError
from core.inference.ensembles import VotedPrediction
from core.services.ensembles import Ensemble as Stored
from core.services.ensembles import NewCast, NewEnsemble

_DEFAULT_PRIORITY = 5
_Weight = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]


class EnsembleRequest(Wanted):
    """An ensemble of jobs that have succeeded (`job_ids`), or one to be trained (`dataset_id` and `members`)."""

    job_ids: Annotated[
        list[Id] | None,
        Field(min_length=FEWEST_MEMBERS, max_length=MOST_MEMBERS, description="Jobs on the same class names."),
    ] = None
    dataset_id: Annotated[Id | None, Field(description="What the members are trained on.")] = None
    members: Annotated[
        list[dict[str, Any]] | None,
        Field(
            min_length=FEWEST_MEMBERS,
            max_length=MOST_MEMBERS,
            description="A config for each member; every one is queued as a job.",
        ),
    ] = None
    name: Annotated[Name | None, Field(description="A name for people.")] = None
    voting: Annotated[Voting, Field(description="By votes, or by the mean of the probabilities.")] = "soft"
    weights: Annotated[list[_Weight] | None, Field(description="What each member counts; left out: all the same.")] = (
        None
    )
    priority: Annotated[int | None, Field(ge=0, le=9, description="Of the members' jobs; 9 runs first.")] = None
    tags: Annotated[list[Tag] | None, Field(max_length=20, description="Of the members' jobs.")] = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Refuse what contradicts itself, with every fault."""
        if faults := [*self._find_faults()]:
            raise InvalidError("The request is not valid.", faults=faults)
        return self

    def _find_faults(self) -> Iterator[Fault]:
        if self.job_ids is not None:
            for name in ("dataset_id", "members", "priority", "tags"):
                if getattr(self, name) is not None:
                    yield Fault(f"/{name}", "stands beside job_ids, whose members are trained")
            for place, job_id in enumerate(self.job_ids):
                if job_id in self.job_ids[:place]:
                    yield Fault(f"/job_ids/{place}", "stands twice")
        else:
            for name in ("dataset_id", "members"):
                if getattr(self, name) is None:
                    yield Fault(f"/{name}", "is missing: give job_ids, or dataset_id and members")
        yield from self._find_weight_faults()

    def _find_weight_faults(self) -> Iterator[Fault]:
        if self.weights is None:
            return
        if len(self.weights) != self._count():
            yield Fault("/weights", f"must be as many as the members, {self._count()}")
        if not any(self.weights):
            yield Fault("/weights", "must not all be 0")

    def _count(self) -> int:
        return len(self.job_ids or self.members or ())

    def to_new_ensemble(self) -> NewEnsemble:
        """Return how it votes, as the service takes it."""
        weights = self.weights or [1.0] * self._count()
        return NewEnsemble(self.name, self.voting, tuple(weights))

    def to_new_cast(self) -> NewCast:
        """Return what is to be trained, as the service takes it."""
        assert self.dataset_id is not None
        return NewCast(
            ensemble=self.to_new_ensemble(),
            dataset_id=self.dataset_id,
            configs=tuple(self.members or ()),
            priority=_DEFAULT_PRIORITY if self.priority is None else self.priority,
            tags=tuple(dict.fromkeys(self.tags or ())),
        )


class EnsembleMember(Shape):
    """One model of an ensemble."""

    job_id: str
    name: str
    architecture: str
    weight: float
    status: JobStatus
    test_accuracy: Annotated[float | None, Field(description="Of this model alone, 0-1.")]


class Ensemble(Shape):
    """Some models that vote."""

    id: str
    name: str
    status: Annotated[
        EnsembleStatus,
        Field(description="`training` until every member is there; `failed` while one has ended without a model."),
    ]
    voting: Voting
    classes: list[str]
    job_ids: list[str]
    weights: list[float]
    members: list[EnsembleMember]
    test_accuracy: Annotated[
        float | None, Field(description="Of the vote, 0-1; null where members were tested on different images.")
    ]
    test_agreement: Annotated[
        float | None, Field(description="Mean share of the members that are for the chosen class, 0-1.")
    ]
    test_images: int | None
    error: Annotated[StoredProblem | None, Field(description="Why it cannot be formed.")]
    created_at: Moment
    formed_at: Moment | None


class VotedPredictions(Shape):
    """Predictions in the order in which the images were sent."""

    predictions: list[VotedPrediction]


def shape_ensemble(ensemble: Stored) -> Ensemble:
    """Return an ensemble as answers show it."""
    row, metrics = ensemble.row, ensemble.row.metrics or {}
    return Ensemble(
        id=row.id,
        name=row.name,
        status=ensemble.status,
        voting=ensemble.voting,
        classes=row.classes,
        job_ids=[member.job_id for member in ensemble.members],
        weights=[member.weight for member in ensemble.members],
        members=[
            EnsembleMember(**{name: getattr(member, name) for name in EnsembleMember.model_fields})
            for member in ensemble.members
        ],
        test_accuracy=metrics.get("test_accuracy"),
        test_agreement=metrics.get("test_agreement"),
        test_images=metrics.get("test_images"),
        error=shape_stored("The ensemble cannot be formed", ensemble.error),
        created_at=row.created_at,
        formed_at=row.formed_at,
    )
