"""What the platform answers, as frozen values.

Fields that this version does not know are kept (``model_extra``) and printed by ``--json``; status words are plain
strings, so that a newer platform never breaks an older client. Accuracies and shares are fractions 0-1.
"""

from datetime import datetime
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")

PLOTS = ("history", "confusion_matrix", "predictions", "mistakes", "filters", "feature_maps")
"""Names of the plots of a job that succeeded; the first is there for one that runs, too."""
ENDED = frozenset({"succeeded", "failed", "cancelled"})


class Value(BaseModel):
    """The base of every answer: frozen, and tolerant to fields that are new."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True, protected_namespaces=())


class Page(Value, Generic[T]):
    """One page of a list, newest first; ``next_cursor`` opens the next, ``None`` on the last."""

    items: list[T]
    next_cursor: str | None = None


class ProblemFault(Value):
    """One fault of a problem: where and what."""

    pointer: str = ""
    detail: str = ""


class Problem(Value):
    """Why something failed or was refused (RFC 9457)."""

    code: str | None = None
    title: str | None = None
    status: int | None = None
    detail: str | None = None
    request_id: str | None = None
    errors: list[ProblemFault] = []

    @property
    def sentence(self) -> str:
        """Return the most that the problem says in one line."""
        return self.detail or self.title or self.code or "no reason was given"


class DatasetWarning(Value):
    """What a dataset that is ready is warned of: how many entries, and some of their paths."""

    code: str
    detail: str = ""
    count: int = 0
    examples: list[str] = []


class ImageSummary(Value):
    """The images of a dataset: how many, of which modes, smallest and largest size in pixels."""

    total: int = 0
    modes: dict[str, int] = {}
    min_size: tuple[int, int] | None = None
    max_size: tuple[int, int] | None = None


class EntryCounts(Value):
    """How many entries of the archive were accepted, rejected and ignored."""

    accepted: int = 0
    rejected: int = 0
    ignored: int = 0


class Dataset(Value):
    """A dataset: ``processing``, ``ready`` or ``rejected``. What ingest finds is ``None`` until it has."""

    id: str
    status: str
    name: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    created_at: datetime | None = None
    classes: list[str] | None = None
    counts: dict[str, dict[str, int] | None] | None = None
    images: ImageSummary | None = None
    color_mode: str | None = None
    warnings: list[DatasetWarning] | None = None
    error: Problem | None = None
    entries: EntryCounts | None = None

    def images_in(self, split: str) -> int:
        """Return how many images a split (``train``, ``validation``, ``test``) has."""
        return sum(((self.counts or {}).get(split) or {}).values())


class Entry(Value):
    """One entry of a dataset's archive: what became of it and why."""

    path: str
    outcome: str
    reason: str | None = None


class Progress(Value):
    """How far a job is; ``fraction`` never falls within an attempt."""

    epoch: int | None = None
    epochs: int | None = None
    batch: int | None = None
    batches: int | None = None
    fraction: float | None = None
    images_per_second: float | None = None
    eta_seconds: float | None = None


class Metrics(Value):
    """What a job has measured so far."""

    train_loss: float | None = None
    train_accuracy: float | None = None
    val_loss: float | None = None
    val_accuracy: float | None = None
    test_loss: float | None = None
    test_accuracy: float | None = None
    best_epoch: int | None = None


class Job(Value):
    """A training: ``queued``, ``running``, ``paused``, ``succeeded``, ``failed`` or ``cancelled``."""

    id: str
    status: str
    name: str | None = None
    tags: list[str] = []
    dataset_id: str | None = None
    sweep_id: str | None = None
    from_job: str | None = None
    warm_start: bool = False
    config: dict[str, Any] = {}
    priority: int | None = None
    attempt: int = 0
    progress: Progress | None = None
    metrics: Metrics | None = None
    parameters: int | None = None
    stop_reason: str | None = None
    jobs_ahead: int | None = None
    status_reason: str | None = None
    device: str | None = None
    worker: str | None = None
    error: Problem | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    updated_at: datetime | None = None

    @property
    def ended(self) -> bool:
        """Claim that the job will change no more unless it is retried."""
        return self.status in ENDED


class Estimate(Value):
    """How long a job would take, from measured speed; ``None`` where nothing was measured yet."""

    seconds_per_epoch: float | None = None
    total_seconds: float | None = None
    queue_wait_seconds: float | None = None


class Plan(Value):
    """What a job would be: the resolved config, its layers and the estimate. Nothing is stored for it."""

    config: dict[str, Any] = {}
    layers: list[dict[str, Any]] = []
    parameters: int | None = None
    estimate: Estimate | None = None


class Epoch(Value):
    """One epoch, counted from 1."""

    epoch: int
    train_loss: float | None = None
    train_accuracy: float | None = None
    val_loss: float | None = None
    val_accuracy: float | None = None
    learning_rate: float | None = None
    seconds: float | None = None
    images_per_second: float | None = None
    finished_at: datetime | None = None


class Attempt(Value):
    """One worker's hold on a job; ``end`` says why it ended, ``None`` while it lasts."""

    attempt: int
    worker: str | None = None
    device: str | None = None
    started_at: datetime | None = None
    resumed_from_epoch: int | None = None
    exact_resume: bool | None = None
    ended_at: datetime | None = None
    end: str | None = None
    exit_code: int | None = None
    detail: str | None = None


class LogLine(Value):
    """One line of the worker's log about a job; ``id`` is what ``after`` takes."""

    id: int
    at: datetime | None = None
    attempt: int | None = None
    level: str | None = None
    message: str = ""


class ClassScore(Value):
    """Test metrics of one class."""

    class_name: str = Field(alias="class")
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    support: int = 0


class Mistake(Value):
    """One test image that the model takes for another class."""

    path: str
    true: str
    predicted: str
    confidence: float
    thumbnail: str | None = None


class Averages(Value):
    """Plain means of the classes' figures, 0-1."""

    precision: float | None = None
    recall: float | None = None
    f1: float | None = None


class TopAccuracy(Value):
    """The share of images whose class is among the ``k`` most probable ones."""

    k: int
    accuracy: float


class ConfidenceBin(Value):
    """Images of which the model was about equally sure: how sure on the mean, and how often it was right."""

    images: int
    confidence: float
    accuracy: float


class LabelSuspicion(Value):
    """An image of validation or test whose label is likely wrong, and the class that the model suggests."""

    path: str
    split: str | None = None
    label: str
    suggested: str
    confidence: float | None = None
    label_probability: float | None = None
    thumbnail: str | None = None


class Report(Value):
    """Test metrics of a job, ``None`` where its dataset has no test images.

    The confusion matrix has true classes as rows and predicted ones as columns.
    """

    accuracy: float | None = None
    loss: float | None = None
    classes: list[str] = []
    confusion_matrix: list[list[int]] = []
    per_class: list[ClassScore] = []
    mistakes: list[Mistake] = []
    averages: Averages | None = None
    top_accuracy: list[TopAccuracy] = []
    calibration_error: float | None = None
    calibration: list[ConfidenceBin] = []
    leaked_images: int | None = None
    accuracy_without_leaks: float | None = None
    label_suspicions: list[LabelSuspicion] = []
    provenance: dict[str, str] = {}
    images: dict[str, int] = {}


class Reproduction(Value):
    """A job and the one that repeats it: whether the weights are equal to the bit, and what else differs.

    ``sha256`` and ``again_sha256`` are those of each job's ``model.safetensors``; ``differences`` has what the two were
    made of and with where it is not the same, each as (first, again).
    """

    job_id: str
    again_id: str
    equal_weights: bool
    sha256: str | None = None
    again_sha256: str | None = None
    differences: dict[str, tuple[str | None, str | None]] = {}


class Artifact(Value):
    """One file of a job that succeeded."""

    name: str
    media_type: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None


class ClassProbability(Value):
    """One of the most probable classes of an image."""

    class_name: str = Field(alias="class")
    probability: float


class Prediction(Value):
    """What the model takes one image for."""

    filename: str
    class_name: str = Field(alias="class")
    class_index: int
    confidence: float
    top: list[ClassProbability] = []


class Ballot(Value):
    """What one member of an ensemble takes an image for."""

    job_id: str
    class_name: str = Field(alias="class")
    confidence: float


class VotedPrediction(Prediction):
    """What an ensemble takes one image for; without ``votes`` where a single model was asked."""

    agreement: float | None = None
    votes: list[Ballot] = []


class LayerMaps(Value):
    """The maps of one convolution, by filter, row and column."""

    convolution: int
    shape: list[int] = []
    maps: list[list[list[float]]] = []


class FeatureMaps(Value):
    """What each convolution makes of an image, first to last."""

    filename: str
    feature_maps: list[LayerMaps] = []


class SaliencyMap(Value):
    """By how much covering each pixel lowers the probability of a class."""

    filename: str
    class_name: str = Field(alias="class")
    class_index: int
    confidence: float
    heat: list[list[float]] = []


class EnsembleMember(Value):
    """One model of an ensemble."""

    job_id: str
    name: str | None = None
    architecture: str | None = None
    weight: float | None = None
    status: str | None = None
    test_accuracy: float | None = None


class Ensemble(Value):
    """Some models that vote: ``training``, ``ready`` or ``failed``."""

    id: str
    status: str
    name: str | None = None
    voting: str | None = None
    classes: list[str] = []
    job_ids: list[str] = []
    weights: list[float] = []
    members: list[EnsembleMember] = []
    test_accuracy: float | None = None
    test_agreement: float | None = None
    test_images: int | None = None
    error: Problem | None = None
    created_at: datetime | None = None
    formed_at: datetime | None = None


class EvaluationMetrics(Value):
    """What a model is worth on some images."""

    accuracy: float | None = None
    loss: float | None = None
    images: int | None = None


class Evaluation(Value):
    """A trained model looked at on other images: ``queued``, ``running``, ``succeeded`` or ``failed``."""

    id: str
    status: str
    job_id: str | None = None
    dataset_id: str | None = None
    split: str | None = None
    attempt: int = 0
    metrics: EvaluationMetrics | None = None
    error: Problem | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


class Alias(Value):
    """A word for a version of a model, who set it there and when."""

    alias: str
    version: int
    set_at: datetime | None = None
    set_by: str | None = None


class AliasChange(Value):
    """One change of an alias; ``None`` is no version."""

    alias: str
    before: int | None = None
    after: int | None = None
    at: datetime | None = None
    by: str | None = None


class NamedModel(Value):
    """A name for the versions of a model."""

    name: str
    description: str | None = None
    last_version: int = 0
    aliases: list[Alias] = []
    created_at: datetime | None = None
    created_by: str | None = None


class ModelVersion(Value):
    """One version of a model: a job's, or an ensemble."""

    version: int
    name: str | None = None
    job_id: str | None = None
    ensemble_id: str | None = None
    description: str | None = None
    created_at: datetime | None = None
    created_by: str | None = None


class Worker(Value):
    """One worker host with its slots; ``busy_jobs`` names those of the ``busy`` slots' jobs that the key may see."""

    name: str
    host: str | None = None
    role: str | None = None
    device: str | None = None
    engines: list[str] = []
    slots: int | None = None
    busy: int | None = None
    busy_jobs: list[str] = []
    last_heartbeat_at: datetime | None = None


class Queue(Value):
    """How much waits in one queue, and for how long the oldest has."""

    name: str
    depth: int = 0
    oldest_wait_seconds: float | None = None


class Preset(Value):
    """A recipe: a name and the options that it stands for."""

    name: str
    description: str | None = None
    default: bool = False
    config: dict[str, Any] = {}


class Architecture(Value):
    """A network that can be trained, and the options that come with it."""

    name: str
    description: str | None = None
    defaults: dict[str, Any] = {}


class Key(Value):
    """An API key, without its secret; ``last_used_at`` is true to the minute."""

    id: str
    name: str = ""
    scopes: list[str] = []
    tenant: str | None = None
    tenant_id: str | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None
    last_used_at: datetime | None = None


class NewKey(Key):
    """A key that was just made, with the secret that nobody can show again."""

    secret: str | None = None


class Tenant(Value):
    """Whose keys, datasets and jobs there are."""

    id: str
    name: str = ""
    created_at: datetime | None = None


class QuotaState(Value):
    """One quota: its ``limit`` (``None``: none), what is ``used``, and whether it is the tenant's ``own``."""

    limit: int | None = None
    used: int = 0
    own: bool = False


class TenantQuota(Value):
    """What a tenant may use, and does."""

    tenant_id: str
    stored_bytes: QuotaState = QuotaState()
    datasets: QuotaState = QuotaState()
    queued_jobs: QuotaState = QuotaState()
    running_jobs: QuotaState = QuotaState()
    device_seconds_per_day: QuotaState = QuotaState()
    requests_per_minute: QuotaState = QuotaState()

    def states(self) -> dict[str, QuotaState]:
        """Return each quota by its name."""
        return {name: value for name, value in self if isinstance(value, QuotaState)}

    def own_limits(self) -> dict[str, int | str | None]:
        """Return what was set for this tenant alone, as `Tenants.set_quota` takes it."""
        own = {name: state.limit for name, state in self.states().items() if state.own}
        return {name: "unlimited" if limit is None else limit for name, limit in own.items()}


class AuditEvent(Value):
    """Who did what to which resource (``done``), or tried to (``refused``)."""

    id: str
    at: datetime | None = None
    tenant_id: str | None = None
    key_id: str | None = None
    request_id: str | None = None
    action: str = ""
    resource_id: str | None = None
    outcome: str = ""
    detail: dict[str, Any] | None = None
