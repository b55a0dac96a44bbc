"""Jobs, as requests ask for them and answers show them."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from api.faults import list_faults
from api.schemas.base import LARGEST_INTEGER, NO_NUL, Id, Moment, Name, PageQuery, Query, Shape, Wanted
from api.schemas.problems import StoredProblem, shape_stored
from core.db.rows import EpochRow, JobAttemptRow, JobLogRow, JobRow, JobTransitionRow
from core.domain.architectures import describe
from core.domain.jobs import AttemptEnd, JobStatus, StopReason
from core.domain.training_config import TrainingConfig, resolve
from core.errors import InvalidError
from core.services.estimates import Estimate
from core.services.jobs import JobPlan, NewJob

M = TypeVar("M", bound=Shape)
Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=NO_NUL)]
MOST_LOG_LINES = 1000


class _DocumentedAs:
    """Has a field that is read later described by the model that reads it."""

    def __init__(self, model: type[BaseModel]) -> None:
        self._model = model

    def __get_pydantic_json_schema__(self, _: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(self._model.__pydantic_core_schema__)


class JobRequest(Wanted):
    """A training that is asked for."""

    dataset_id: Annotated[Id, Field(description="A dataset that is ready.")]
    name: Annotated[Name | None, Field(description="A name for people.")] = None
    config: Annotated[dict[str, Any], _DocumentedAs(TrainingConfig)] = Field(
        default_factory=dict,
        description="Training options, see `/api/v1/schemas/training-config`; what is left out has a default.",
    )
    priority: Annotated[int, Field(ge=0, le=9, description="9 runs first.")] = 5
    tags: list[Tag] = Field(default_factory=list, max_length=20, description="Words to find it by.")
    from_job: Annotated[Id | None, Field(description="A job whose config is the base.")] = None
    warm_start: Annotated[bool, Field(description="Start from the weights of `from_job`.")] = False
    validate_only: Annotated[bool, Field(description="Store nothing; answer what the job would be.")] = False

    @model_validator(mode="wrap")
    @classmethod
    def _list_every_fault(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Refuse a faulty request with the faults of its config too, which are found later otherwise."""
        try:
            return handler(data)
        except ValidationError as error:
            faults = [*list_faults(error), *_config_faults(data)]
            raise InvalidError("The request is not valid.", faults=faults) from error

    def to_new_job(self) -> NewJob:
        """Return it as the service takes it."""
        return NewJob(
            dataset_id=self.dataset_id,
            name=self.name,
            config=self.config,
            priority=self.priority,
            tags=tuple(dict.fromkeys(self.tags)),
            from_job=self.from_job,
            warm_start=self.warm_start,
        )


def _config_faults(data: Any) -> list[Any]:
    config = data.get("config") if isinstance(data, dict) else None
    if not isinstance(config, dict):
        return []
    try:
        resolve(config)
    except InvalidError as error:
        return list(error.faults)
    return []


class RetryRequest(Wanted):
    """Where a retry begins."""

    start: Annotated[
        Literal["start", "checkpoint"], Field(alias="from", description="Anew, or from the last checkpoint.")
    ] = "start"


class JobQuery(PageQuery):
    """Which jobs."""

    status: Annotated[JobStatus | None, Field(description="Only jobs in this state.")] = None
    dataset_id: Annotated[Id | None, Field(description="Only jobs on this dataset.")] = None
    tag: Annotated[Tag | None, Field(description="Only jobs with this tag.")] = None


class LogQuery(Query):
    """Which log lines."""

    after: Annotated[int, Field(ge=0, le=LARGEST_INTEGER, description="Only lines after the one with this id.")] = 0
    limit: Annotated[int, Field(ge=1, le=MOST_LOG_LINES, description="Most lines.")] = MOST_LOG_LINES


class EventHeader(BaseModel):
    """Where a stream of events goes on."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    last_event_id: Annotated[
        str | None, Field(alias="Last-Event-ID", description="The last id that was seen; later events follow.")
    ] = None


class Progress(Shape):
    """How far a job is."""

    epoch: int | None = None
    epochs: int | None = None
    batch: int | None = None
    batches: int | None = None
    fraction: Annotated[float, Field(description="0-1; never falls within an attempt.")] = 0.0
    images_per_second: float | None = None
    eta_seconds: float | None = None


class Metrics(Shape):
    """What a job has measured so far; accuracies are fractions."""

    train_loss: float | None = None
    train_accuracy: float | None = None
    val_loss: float | None = None
    val_accuracy: float | None = None
    test_loss: float | None = None
    test_accuracy: float | None = None
    best_epoch: int | None = None


class Job(Shape):
    """A training."""

    id: str
    name: str
    tags: list[str]
    dataset_id: str
    sweep_id: str | None
    from_job: str | None
    warm_start: bool
    status: JobStatus
    status_reason: Annotated[
        str | None,
        Field(
            description="Why a queued job waits: a quota holds it, or no worker that is alive can train it. Else null."
        ),
    ]
    config: Annotated[dict[str, Any], Field(description="Every option, resolved.")]
    priority: int
    attempt: Annotated[int, Field(description="How often a worker has taken it.")]
    progress: Progress
    metrics: Metrics
    parameters: Annotated[int | None, Field(description="Weights trained.")]
    stop_reason: StopReason | None
    jobs_ahead: Annotated[int, Field(description="Queued jobs that come before it.")]
    device: str | None
    worker: str | None
    error: Annotated[StoredProblem | None, Field(description="Why it failed.")]
    created_at: Moment
    started_at: Moment | None
    finished_at: Moment | None
    updated_at: Moment


class Epoch(Shape):
    """One epoch, counted from 1; accuracies are fractions."""

    epoch: int
    train_loss: float | None
    train_accuracy: float | None
    val_loss: float | None
    val_accuracy: float | None
    learning_rate: float
    seconds: float
    images_per_second: float
    finished_at: Moment


class LogLine(Shape):
    """One line that the worker logged of a job."""

    id: Annotated[int, Field(description="What `after` takes.")]
    attempt: int
    at: Moment
    level: str
    message: str


class Attempt(Shape):
    """One worker's hold on a job, and why it ended."""

    attempt: int
    worker: str
    device: str
    started_at: Moment
    resumed_from_epoch: int | None
    exact_resume: bool | None
    ended_at: Moment | None
    end: AttemptEnd | None
    exit_code: int | None
    detail: str | None


class Transition(Shape):
    """One change of a job's status: when, from, to, by whom and why."""

    id: int
    at: Moment
    before: JobStatus | None
    after: JobStatus
    attempt: int
    actor: str
    reason: str


class Layer(Shape):
    """One layer of the network."""

    name: str
    kind: str
    output_shape: list[int]
    weights: int


class EstimateShape(Shape):
    """How long it would take; null where nothing was measured yet."""

    seconds_per_epoch: float | None
    total_seconds: float | None
    queue_wait_seconds: float | None


class Plan(Shape):
    """What a job would be; nothing was stored."""

    config: Annotated[dict[str, Any], Field(description="Every option, resolved.")]
    layers: list[Layer]
    parameters: Annotated[int, Field(description="Weights that would be trained.")]
    estimate: EstimateShape


_OF_RUNNING = ("images_per_second", "eta_seconds")


def shape_job(row: JobRow, *, jobs_ahead: int, status_reason: str | None) -> Job:
    """Return a job as answers show it."""
    return Job(
        id=row.id,
        name=row.name,
        tags=row.tags,
        dataset_id=row.dataset_id,
        sweep_id=row.sweep_id,
        from_job=row.from_job,
        warm_start=row.warm_start,
        status=JobStatus(row.status),
        status_reason=status_reason,
        config=row.config,
        priority=row.priority,
        attempt=row.attempt,
        progress=_shape_progress(row),
        metrics=_pick(Metrics, row.metrics or {}),
        parameters=row.parameters,
        stop_reason=None if row.stop_reason is None else StopReason(row.stop_reason),
        jobs_ahead=jobs_ahead,
        device=row.device,
        worker=row.worker,
        error=shape_stored("The training failed", row.error),
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        updated_at=row.updated_at,
    )


def _shape_progress(row: JobRow) -> Progress:
    """Return how far a job is; one that does not run has no speed, and no end in sight."""
    found = _pick(Progress, {"epochs": row.config.get("epochs")} | (row.progress or {}))
    return found if row.status == JobStatus.RUNNING else found.model_copy(update=dict.fromkeys(_OF_RUNNING))


def shape_epoch(row: EpochRow) -> Epoch:
    """Return an epoch as answers show it."""
    return Epoch(**_columns(Epoch, row))


def shape_log_line(row: JobLogRow) -> LogLine:
    """Return a log line as answers show it."""
    return LogLine(**_columns(LogLine, row))


def shape_attempt(row: JobAttemptRow) -> Attempt:
    """Return an attempt as answers show it."""
    return Attempt(**_columns(Attempt, row))


def shape_transition(row: JobTransitionRow) -> Transition:
    """Return a change of status as answers show it."""
    return Transition(**_columns(Transition, row))


def shape_plan(plan: JobPlan, estimate: Estimate) -> Plan:
    """Return what a job would be."""
    config = plan.config
    layers = describe(config, channels=3 if config.color_mode == "rgb" else 1, classes=len(plan.manifest.classes))
    return Plan(
        config=config.plain(),
        layers=[
            Layer(name=layer.name, kind=layer.kind, output_shape=list(layer.output_shape), weights=layer.weights)
            for layer in layers
        ],
        parameters=sum(layer.weights for layer in layers),
        estimate=EstimateShape(**vars(estimate)),
    )


def _pick(kind: type[M], values: Mapping[str, Any]) -> M:
    return kind.model_validate({name: values[name] for name in kind.model_fields if values.get(name) is not None})


def _columns(kind: type[Shape], row: object) -> dict[str, Any]:
    return {name: getattr(row, name) for name in kind.model_fields}
