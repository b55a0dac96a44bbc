"""The tables, as typed rows. No rules stand here: services write them, each change of a job's status in one place."""

from datetime import UTC, date, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    desc,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

_ID = String(40)
_KEY = String(400)
_HASH = String(64)
_WORD = String(40)
LONGEST_NAME = 255
_NAME = String(LONGEST_NAME)


class UTCDateTime(TypeDecorator[datetime]):
    """An aware moment in UTC. SQLite forgets the zone, so it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Turn an aware moment into UTC; a naive one is a defect of the caller."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment needs its zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Give back an aware moment in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


_Json = JSON().with_variant(JSONB(), "postgresql")
_BigKey = BigInteger().with_variant(Integer(), "sqlite")


class Row(DeclarativeBase):
    """The base of all rows; constraints get names that migrations can rely on."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {datetime: UTCDateTime(), dict[str, Any]: _Json, list[Any]: _Json}


class TenantRow(Row):
    """Who owns keys, datasets and jobs."""

    __tablename__ = "tenants"

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    name: Mapped[str] = mapped_column(_NAME, unique=True)
    created_at: Mapped[datetime]


class ApiKeyRow(Row):
    """A key of a tenant: the SHA-256 of its secret, never the secret."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), index=True)
    name: Mapped[str] = mapped_column(_NAME)
    secret_hash: Mapped[str] = mapped_column(_HASH, unique=True)
    scopes: Mapped[list[Any]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class QuotaRow(Row):
    """A tenant's own quotas; what is null is the platform's default."""

    __tablename__ = "quotas"

    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    stored_bytes: Mapped[int | None] = mapped_column(BigInteger)
    datasets: Mapped[int | None] = mapped_column(BigInteger)
    queued_jobs: Mapped[int | None] = mapped_column(BigInteger)
    running_jobs: Mapped[int | None] = mapped_column(BigInteger)
    device_seconds_per_day: Mapped[int | None] = mapped_column(BigInteger)
    requests_per_minute: Mapped[int | None] = mapped_column(BigInteger)
    updated_at: Mapped[datetime]


class DeviceUseRow(Row):
    """For how long a tenant's attempts that have ended held slots on a day in UTC, and when the last one of them ended.

    It outlives the jobs.
    """

    __tablename__ = "device_use"

    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    seconds: Mapped[float]
    last_ended_at: Mapped[datetime]


class AuditRow(Row):
    """Who did what to which resource, or tried to. Rows are added and never changed; they outlive what they name."""

    __tablename__ = "audit_events"
    __table_args__ = (
        Index("ix_audit_events_tenant_id", "tenant_id", "id"),
        Index("ix_audit_events_resource_id", "resource_id", "id"),
    )

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    at: Mapped[datetime]
    tenant_id: Mapped[str] = mapped_column(_ID)
    key_id: Mapped[str] = mapped_column(_ID)
    request_id: Mapped[str | None] = mapped_column(_NAME)
    action: Mapped[str] = mapped_column(_WORD)
    resource_id: Mapped[str | None] = mapped_column(_NAME)
    outcome: Mapped[str] = mapped_column(_WORD)
    detail: Mapped[dict[str, Any] | None]


class IdempotencyRow(Row):
    """The first answer that an ``Idempotency-Key`` got, given again for the same request."""

    __tablename__ = "idempotency_keys"

    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    key: Mapped[str] = mapped_column(_NAME, primary_key=True)
    fingerprint: Mapped[str] = mapped_column(_HASH)
    status: Mapped[int | None]
    location: Mapped[str | None] = mapped_column(_KEY)
    body: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]


class DatasetRow(Row):
    """An uploaded archive; ``manifest`` is what ingest found, ``error`` why it was rejected."""

    __tablename__ = "datasets"
    __table_args__ = (
        UniqueConstraint("tenant_id", "sha256"),
        Index("ix_datasets_status_lease", "status", "lease_expires_at"),
    )

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    name: Mapped[str] = mapped_column(_NAME)
    status: Mapped[str] = mapped_column(_WORD)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(_HASH)
    archive_key: Mapped[str] = mapped_column(_KEY)
    preview_key: Mapped[str | None] = mapped_column(_KEY)
    manifest: Mapped[dict[str, Any] | None]
    entries: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    attempt: Mapped[int] = mapped_column(default=0)
    worker: Mapped[str | None] = mapped_column(_NAME)
    lease_expires_at: Mapped[datetime | None]
    request_id: Mapped[str | None] = mapped_column(_NAME)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class DatasetEntryRow(Row):
    """One entry of an archive: accepted, rejected or ignored, and why."""

    __tablename__ = "dataset_entries"

    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    path: Mapped[str] = mapped_column(Text)
    outcome: Mapped[str] = mapped_column(_WORD)
    reason: Mapped[str | None] = mapped_column(Text)
    split: Mapped[str | None] = mapped_column(_WORD)
    class_name: Mapped[str | None] = mapped_column(_NAME)
    width: Mapped[int | None]
    height: Mapped[int | None]
    mode: Mapped[str | None] = mapped_column(_WORD)


class PackRow(Row):
    """A dataset decoded for one image size and colour mode; ``digest`` is the SHA-256 of its bytes."""

    __tablename__ = "packs"

    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True)
    image_size: Mapped[int] = mapped_column(primary_key=True)
    color_mode: Mapped[str] = mapped_column(_WORD, primary_key=True)
    digest: Mapped[str] = mapped_column(_HASH)
    key: Mapped[str] = mapped_column(_KEY)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime]


class JobRow(Row):
    """A training. ``status``, ``attempt`` and the lease are written by `core.services` alone, under conditions."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_queue", "status", "queue", "priority"),
        # As claims look for the next one of a tenant, however many wait.
        Index("ix_jobs_claims", "tenant_id", "status", desc("priority"), "id"),
        Index("ix_jobs_status_lease", "status", "lease_expires_at"),
    )

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    dataset_id: Mapped[str] = mapped_column(_ID, index=True)  # no foreign key: results outlive the dataset
    sweep_id: Mapped[str | None] = mapped_column(_ID, index=True)
    from_job: Mapped[str | None] = mapped_column(_ID)
    warm_start: Mapped[bool] = mapped_column(default=False)
    name: Mapped[str] = mapped_column(_NAME)
    tags: Mapped[list[Any]]
    config: Mapped[dict[str, Any]]
    priority: Mapped[int]
    queue: Mapped[str] = mapped_column(_WORD)
    status: Mapped[str] = mapped_column(_WORD)
    attempt: Mapped[int] = mapped_column(default=0)
    attempts_lost: Mapped[int] = mapped_column(default=0)
    max_attempts: Mapped[int]
    worker: Mapped[str | None] = mapped_column(_NAME)
    device: Mapped[str | None] = mapped_column(_WORD)
    lease_expires_at: Mapped[datetime | None]
    last_progress_at: Mapped[datetime | None]
    pause_requested: Mapped[bool] = mapped_column(default=False)
    stop_requested: Mapped[bool] = mapped_column(default=False)
    progress: Mapped[dict[str, Any] | None]
    metrics: Mapped[dict[str, Any] | None]
    parameters: Mapped[int | None]
    stop_reason: Mapped[str | None] = mapped_column(_WORD)
    error: Mapped[dict[str, Any] | None]
    request_id: Mapped[str | None] = mapped_column(_NAME)
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    updated_at: Mapped[datetime]


class JobAttemptRow(Row):
    """One claim of a job and why it ended."""

    __tablename__ = "job_attempts"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    worker: Mapped[str] = mapped_column(_NAME)
    device: Mapped[str] = mapped_column(_WORD)
    started_at: Mapped[datetime]
    resumed_from_epoch: Mapped[int | None]
    exact_resume: Mapped[bool | None]
    ended_at: Mapped[datetime | None]
    end: Mapped[str | None] = mapped_column(_WORD)
    exit_code: Mapped[int | None]
    detail: Mapped[str | None] = mapped_column(Text)


class JobTransitionRow(Row):
    """One change of a job's status: when, from, to, in which attempt, by whom and why."""

    __tablename__ = "job_transitions"

    id: Mapped[int] = mapped_column(_BigKey, primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    at: Mapped[datetime]
    before: Mapped[str | None] = mapped_column(_WORD)
    after: Mapped[str] = mapped_column(_WORD)
    attempt: Mapped[int]
    actor: Mapped[str] = mapped_column(_NAME)
    reason: Mapped[str] = mapped_column(Text)


class JobLogRow(Row):
    """One log line of a job's training."""

    __tablename__ = "job_logs"
    __table_args__ = (Index("ix_job_logs_job_id_id", "job_id", "id"),)

    id: Mapped[int] = mapped_column(_BigKey, primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    attempt: Mapped[int]
    at: Mapped[datetime]
    level: Mapped[str] = mapped_column(_WORD)
    message: Mapped[str] = mapped_column(Text)


class EpochRow(Row):
    """One epoch of a training; accuracies are fractions."""

    __tablename__ = "epochs"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    attempt: Mapped[int]
    train_loss: Mapped[float]
    train_accuracy: Mapped[float]
    val_loss: Mapped[float | None]
    val_accuracy: Mapped[float | None]
    learning_rate: Mapped[float]
    seconds: Mapped[float]
    images_per_second: Mapped[float]
    finished_at: Mapped[datetime]


class CheckpointRow(Row):
    """A checkpoint whose object is wholly in the store: a row is what makes it exist."""

    __tablename__ = "checkpoints"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    batch: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(_KEY)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(_HASH)
    created_at: Mapped[datetime]


class ArtifactRow(Row):
    """A result of a job that succeeded."""

    __tablename__ = "artifacts"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(_NAME, primary_key=True)
    attempt: Mapped[int]
    media_type: Mapped[str] = mapped_column(_NAME)
    key: Mapped[str] = mapped_column(_KEY)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(_HASH)
    created_at: Mapped[datetime]


class EvaluationRow(Row):
    """A stored model on a dataset that it was not trained on, or on another part of its own."""

    __tablename__ = "evaluations"
    __table_args__ = (Index("ix_evaluations_status_lease", "status", "lease_expires_at"),)

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), index=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    dataset_id: Mapped[str] = mapped_column(_ID, index=True)  # no foreign key: results outlive the dataset
    split: Mapped[str] = mapped_column(_WORD)
    status: Mapped[str] = mapped_column(_WORD)
    attempt: Mapped[int] = mapped_column(default=0)
    attempts_lost: Mapped[int] = mapped_column(default=0)
    worker: Mapped[str | None] = mapped_column(_NAME)
    lease_expires_at: Mapped[datetime | None]
    metrics: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    report_key: Mapped[str | None] = mapped_column(_KEY)
    report_size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    report_sha256: Mapped[str | None] = mapped_column(_HASH)
    request_id: Mapped[str | None] = mapped_column(_NAME)
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    updated_at: Mapped[datetime]


class EnsembleRow(Row):
    """Some models that vote. ``formed_at`` is when the last of them was there; its members never change."""

    __tablename__ = "ensembles"

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), index=True)
    name: Mapped[str] = mapped_column(_NAME)
    voting: Mapped[str] = mapped_column(_WORD)
    classes: Mapped[list[Any]]
    metrics: Mapped[dict[str, Any] | None]
    model_key: Mapped[str | None] = mapped_column(_KEY)
    model_size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    model_sha256: Mapped[str | None] = mapped_column(_HASH)
    model_error: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]
    formed_at: Mapped[datetime | None] = mapped_column(index=True)


class EnsembleMemberRow(Row):
    """One model of an ensemble. The job cannot be deleted while it is one."""

    __tablename__ = "ensemble_members"

    ensemble_id: Mapped[str] = mapped_column(ForeignKey("ensembles.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    weight: Mapped[float]


class ModelRow(Row):
    """A name under which versions of a model are known; ``last_version`` is never given again."""

    __tablename__ = "models"
    __table_args__ = (UniqueConstraint("tenant_id", "name"),)

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    name: Mapped[str] = mapped_column(_NAME)
    description: Mapped[str | None] = mapped_column(Text)
    last_version: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(_NAME)


class ModelVersionRow(Row):
    """One version: a job's model or an ensemble, neither of which can be deleted while it is one. Never changed."""

    __tablename__ = "model_versions"

    model_id: Mapped[str] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"), index=True)
    ensemble_id: Mapped[str | None] = mapped_column(ForeignKey("ensembles.id"), index=True)
    description: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(_NAME)


class ModelAliasRow(Row):
    """A word for a version, as ``production``."""

    __tablename__ = "model_aliases"

    model_id: Mapped[str] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"), primary_key=True)
    alias: Mapped[str] = mapped_column(_WORD, primary_key=True)
    version: Mapped[int]
    set_at: Mapped[datetime]
    set_by: Mapped[str] = mapped_column(_NAME)


class ModelAliasChangeRow(Row):
    """One change of an alias: from and to which version (``None``: there was, or is, none), when and by whose key."""

    __tablename__ = "model_alias_changes"

    id: Mapped[int] = mapped_column(_BigKey, primary_key=True, autoincrement=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"), index=True)
    alias: Mapped[str] = mapped_column(_WORD)
    before: Mapped[int | None]
    after: Mapped[int | None]
    at: Mapped[datetime]
    by: Mapped[str] = mapped_column(_NAME)


class WorkerRow(Row):
    """A worker that has reported; its heartbeat says whether it still lives."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(_NAME, primary_key=True)
    host: Mapped[str] = mapped_column(_NAME)
    role: Mapped[str] = mapped_column(_WORD)
    device: Mapped[str] = mapped_column(_WORD)
    engines: Mapped[list[Any]]
    slots: Mapped[int]
    busy: Mapped[list[Any]]
    started_at: Mapped[datetime]
    heartbeat_at: Mapped[datetime]
