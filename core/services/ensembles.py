"""What users do with ensembles: form one of jobs that have succeeded, or have its members trained; look, delete."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import delete, null, select, update
from sqlalchemy.orm import Session

from core.db.engine import Reader, read_clock
from core.db.rows import LONGEST_NAME, ArtifactRow, EnsembleMemberRow, EnsembleRow, JobRow, ModelVersionRow
from core.domain.datasets import Manifest
from core.domain.ensembles import EnsembleStatus, Voting
from core.domain.identifiers import new_id
from core.domain.jobs import JobStatus
from core.domain.quotas import NO_LIMITS, Limits
from core.errors import ConflictError, Fault, InvalidError, NotFoundError
from core.services.datasets import get_dataset
from core.services.jobs import NewJob, submit_job
from core.services.messages import WakeUp
from core.services.paging import Page, read_page
from core.services.results import StoredArtifact
from core.storage.store import StoredObject

_ENDED_WITHOUT_A_MODEL = {
    JobStatus.FAILED: ("member_failed", "The training of {job} failed"),
    JobStatus.CANCELLED: ("member_cancelled", "The training of {job} was cancelled"),
}


@dataclass(frozen=True)
class NewEnsemble:
    """What a client asks for; there is a weight for each member."""

    name: str | None
    voting: Voting
    weights: tuple[float, ...]


@dataclass(frozen=True)
class NewCast:
    """An ensemble whose members are still to be trained, one for each config, on one dataset."""

    ensemble: NewEnsemble
    dataset_id: str
    configs: tuple[dict[str, Any], ...]
    priority: int
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Member:
    """One member of an ensemble, as its job stands now."""

    job_id: str
    name: str
    architecture: str
    weight: float
    status: JobStatus
    test_accuracy: float | None
    reason: str | None


@dataclass(frozen=True)
class Ensemble:
    """An ensemble with its members in order; its status is what theirs say."""

    row: EnsembleRow
    members: tuple[Member, ...]

    @property
    def voting(self) -> Voting:
        """Return how it votes."""
        return cast("Voting", self.row.voting)

    @property
    def status(self) -> EnsembleStatus:
        """Return where it is. A failed one trains again once the member that failed is retried."""
        if self.row.formed_at is not None:
            return EnsembleStatus.READY
        return EnsembleStatus.FAILED if self.error else EnsembleStatus.TRAINING

    @property
    def error(self) -> dict[str, Any] | None:
        """Return why it cannot be formed: every member that ended without a model."""
        if self.row.formed_at is not None:
            return None
        lost = [(place, member) for place, member in enumerate(self.members) if member.status in _ENDED_WITHOUT_A_MODEL]
        if not lost:
            return None
        code, words = _ENDED_WITHOUT_A_MODEL[lost[0][1].status]
        reasons = [
            {"pointer": f"/members/{place}", "detail": f"{member.job_id} {member.status}: {member.reason or '–'}"}
            for place, member in lost
        ]
        detail = f"{words.format(job=lost[0][1].job_id)}. Retry it, or form an ensemble of the others."
        return {"code": code, "detail": detail, "errors": reasons}


def check_members(session: Session, tenant_id: str, job_ids: Sequence[str]) -> None:
    """Refuse jobs that cannot vote, and keep those that can from being deleted until the transaction ends.

    Raises:
        NotFoundError: A job is not this tenant's.
        InvalidError: ``incompatible_members``: jobs have not succeeded, each named.
    """
    query = select(JobRow).where(JobRow.id.in_(job_ids), JobRow.tenant_id == tenant_id).order_by(JobRow.id)
    rows = {row.id: row for row in session.scalars(query.with_for_update(read=True))}
    unknown = [
        Fault(f"/job_ids/{place}", "there is no such job") for place, job_id in enumerate(job_ids) if job_id not in rows
    ]
    if unknown:
        raise NotFoundError("There is no such job.", code="job_not_found", faults=unknown)
    faults = [
        Fault(f"/job_ids/{place}", f"the job is {rows[job_id].status}")
        for place, job_id in enumerate(job_ids)
        if rows[job_id].status != JobStatus.SUCCEEDED
    ]
    refuse_members("Some jobs have no model.", faults)


def refuse_members(detail: str, faults: Sequence[Fault]) -> None:
    """Raise `InvalidError` (``incompatible_members``) where there are faults."""
    if faults:
        raise InvalidError(detail, code="incompatible_members", faults=faults)


def create_ensemble(
    session: Session,
    tenant_id: str,
    job_ids: Sequence[str],
    wanted: NewEnsemble,
    *,
    classes: Sequence[str],
    metrics: dict[str, Any] | None,
) -> Ensemble:
    """Store an ensemble of jobs that have succeeded.

    Args:
        session: The open transaction.
        tenant_id: Whose it is.
        job_ids: The members in order, of the same classes.
        wanted: What was asked for.
        classes: Their class names.
        metrics: What the vote is worth on the test images, where that can be said.

    Raises:
        NotFoundError: As `check_members`.
        InvalidError: As `check_members`.
    """
    check_members(session, tenant_id, job_ids)
    row = _add(session, tenant_id, job_ids, wanted, classes=classes)
    row.metrics, row.formed_at = metrics, row.created_at
    session.flush()
    return get_ensemble(session, tenant_id, row.id)


def create_cast(
    session: Session,
    tenant_id: str,
    wanted: NewCast,
    *,
    actor: str,
    request_id: str | None,
    max_attempts: int,
    limits: Limits = NO_LIMITS,
) -> tuple[Ensemble, list[WakeUp]]:
    """Queue a training for each member and store the ensemble that they will form.

    ``limits`` are those of a tenant that has none of its own.

    Returns:
        The ensemble, and the wake-ups to send after the commit.

    Raises:
        NotFoundError: The dataset is not this tenant's.
        ConflictError: ``dataset_not_ready`` or ``dataset_rejected``.
        InvalidError: Configs cannot work, with every fault under ``/members/<place>``.
        QuotaExceededError: As many jobs wait, or have run for as long today, as may.
    """
    jobs, wake_ups, faults = list[JobRow](), list[WakeUp](), list[Fault]()
    for place, config in enumerate(wanted.configs):
        new = NewJob(
            dataset_id=wanted.dataset_id,
            name=_name_member(wanted.ensemble.name, place + 1) if wanted.ensemble.name else None,
            config=config,
            priority=wanted.priority,
            tags=wanted.tags,
        )
        try:
            job, sent = submit_job(
                session,
                tenant_id,
                new,
                actor=actor,
                request_id=request_id,
                max_attempts=max_attempts,
                limits=limits,
            )
        except InvalidError as error:
            faults += list_member_faults(place, error)
        else:
            jobs.append(job)
            wake_ups += sent
    if faults:
        raise InvalidError("Some members cannot be trained.", faults=faults)
    manifest = Manifest.model_validate(get_dataset(session, tenant_id, wanted.dataset_id).manifest)
    row = _add(session, tenant_id, [job.id for job in jobs], wanted.ensemble, classes=manifest.classes)
    return get_ensemble(session, tenant_id, row.id), wake_ups


def list_member_faults(place: int, error: InvalidError) -> list[Fault]:
    """Return the faults of one member's config, each at its place in the request."""
    found = error.faults or (Fault("", error.detail),)
    return [Fault(f"/members/{place}{fault.pointer.removeprefix('/config')}", fault.detail) for fault in found]


def _name_member(ensemble: str, place: int) -> str:
    ending = f": {place}"
    return ensemble[: LONGEST_NAME - len(ending)] + ending


def _add(
    session: Session, tenant_id: str, job_ids: Sequence[str], wanted: NewEnsemble, *, classes: Sequence[str]
) -> EnsembleRow:
    row = EnsembleRow(
        id=new_id("ens"),
        tenant_id=tenant_id,
        name=wanted.name or f"{len(job_ids)} models",
        voting=wanted.voting,
        classes=list(classes),
        created_at=read_clock(session),
    )
    session.add(row)
    session.flush()
    session.add_all(
        EnsembleMemberRow(ensemble_id=row.id, position=position, job_id=job_id, weight=weight)
        for position, (job_id, weight) in enumerate(zip(job_ids, wanted.weights, strict=True))
    )
    session.flush()
    return row


def get_ensemble(session: Session, tenant_id: str, ensemble_id: str, *, lock: bool = False) -> Ensemble:
    """Return an ensemble of a tenant; raises `NotFoundError`. A lock keeps it until the transaction ends."""
    row = session.get(EnsembleRow, ensemble_id, populate_existing=True, with_for_update=lock or None)
    if row is None or row.tenant_id != tenant_id:
        raise NotFoundError("There is no such ensemble.", code="ensemble_not_found")
    return Ensemble(row, _read_members(session, [row.id])[row.id])


def list_ensembles(session: Session, tenant_id: str, *, limit: int, cursor: str | None = None) -> Page[Ensemble]:
    """Return a page of a tenant's ensembles, newest first."""
    query = select(EnsembleRow).where(EnsembleRow.tenant_id == tenant_id)
    page = read_page(session, query, EnsembleRow.id, limit=limit, cursor=cursor)
    members = _read_members(session, [row.id for row in page.items])
    return Page([Ensemble(row, members[row.id]) for row in page.items], page.next_cursor)


def _read_members(session: Session, ensemble_ids: Iterable[str]) -> dict[str, tuple[Member, ...]]:
    found: dict[str, list[Member]] = {ensemble_id: [] for ensemble_id in ensemble_ids}
    query = (
        select(EnsembleMemberRow.ensemble_id, EnsembleMemberRow.weight, JobRow)
        .join(JobRow, JobRow.id == EnsembleMemberRow.job_id)
        .where(EnsembleMemberRow.ensemble_id.in_(found))
        .order_by(EnsembleMemberRow.ensemble_id, EnsembleMemberRow.position)
        .execution_options(populate_existing=True)
    )
    for ensemble_id, weight, job in session.execute(query):
        found[ensemble_id].append(_shape_member(job, weight))
    return {ensemble_id: tuple(members) for ensemble_id, members in found.items()}


def _shape_member(job: JobRow, weight: float) -> Member:
    return Member(
        job_id=job.id,
        name=job.name,
        architecture=job.config["architecture"],
        weight=weight,
        status=JobStatus(job.status),
        test_accuracy=(job.metrics or {}).get("test_accuracy"),
        reason=(job.error or {}).get("detail"),
    )


def delete_ensemble(session: Session, tenant_id: str, ensemble_id: str) -> None:
    """Delete an ensemble; its members stay, and go on where they still train. Its object goes after the commit.

    Raises:
        NotFoundError: There is no such ensemble.
        ConflictError: ``ensemble_in_use`` while it is a version of a model.
    """
    get_ensemble(session, tenant_id, ensemble_id, lock=True)
    used = select(ModelVersionRow.version).where(ModelVersionRow.ensemble_id == ensemble_id).limit(1)
    if session.scalar(used) is not None:
        raise ConflictError("The ensemble is a version of a model; delete that first.", code="ensemble_in_use")
    session.execute(delete(EnsembleMemberRow).where(EnsembleMemberRow.ensemble_id == ensemble_id))
    session.execute(delete(EnsembleRow).where(EnsembleRow.id == ensemble_id))


def list_files(session: Session, tenant_id: str, job_ids: Sequence[str], name: str) -> dict[str, StoredArtifact]:
    """Return the artifact of that name of each job that has one, by the job's id."""
    query = (
        select(ArtifactRow)
        .join(JobRow, JobRow.id == ArtifactRow.job_id)
        .where(JobRow.tenant_id == tenant_id, ArtifactRow.job_id.in_(job_ids), ArtifactRow.name == name)
    )
    return {
        row.job_id: StoredArtifact(row.name, row.media_type, row.key, row.size_bytes, row.sha256)
        for row in session.scalars(query)
    }


def find_unformed(session: Session) -> list[tuple[str, str]]:
    """Return tenant and id of the ensembles whose members have all succeeded since, oldest first."""
    waiting = (
        select(EnsembleMemberRow.ensemble_id)
        .join(JobRow, JobRow.id == EnsembleMemberRow.job_id)
        .where(JobRow.status != JobStatus.SUCCEEDED)
    )
    query = select(EnsembleRow.tenant_id, EnsembleRow.id).where(
        EnsembleRow.formed_at.is_(None), EnsembleRow.id.not_in(waiting)
    )
    return [(tenant_id, ensemble_id) for tenant_id, ensemble_id in session.execute(query.order_by(EnsembleRow.id))]


def form_ensemble(session: Session, ensemble_id: str, *, metrics: dict[str, Any] | None) -> bool:
    """Make an ensemble ready whose members have all succeeded; return whether this call did it."""
    formed = session.scalar(
        update(EnsembleRow)
        .where(EnsembleRow.id == ensemble_id, EnsembleRow.formed_at.is_(None))
        .values(metrics=metrics, formed_at=read_clock(session))
        .returning(EnsembleRow.id)
        .execution_options(synchronize_session=False)
    )
    return formed is not None


def find_unmerged(session: Session) -> list[tuple[str, str]]:
    """Return tenant and id of the ensembles that are ready and whose one file is still to be made, oldest first."""
    query = select(EnsembleRow.tenant_id, EnsembleRow.id).where(
        EnsembleRow.formed_at.is_not(None), EnsembleRow.model_key.is_(None), EnsembleRow.model_error.is_(None)
    )
    return [(tenant_id, ensemble_id) for tenant_id, ensemble_id in session.execute(query.order_by(EnsembleRow.id))]


def record_model_error(session: Session, ensemble_id: str, *, code: str, detail: str) -> None:
    """Keep why an ensemble's one file cannot be made, unless it is there: nobody tries again."""
    session.execute(
        update(EnsembleRow)
        .where(EnsembleRow.id == ensemble_id, EnsembleRow.model_key.is_(None))
        .values(model_error={"code": code, "detail": detail})
        .execution_options(synchronize_session=False)
    )


def find_model(session: Session, tenant_id: str, ensemble_id: str) -> StoredObject | None:
    """Return an ensemble's one file; ``None`` while it is being made.

    Raises:
        NotFoundError: There is no such ensemble.
        ConflictError: ``ensemble_not_ready``, or why the file cannot be made.
    """
    ensemble = get_ensemble(session, tenant_id, ensemble_id)
    row = ensemble.row
    if ensemble.status != EnsembleStatus.READY:
        raise ConflictError("The ensemble's members are not all trained.", code="ensemble_not_ready")
    if row.model_error is not None:
        raise ConflictError(row.model_error["detail"], code=row.model_error["code"])
    if row.model_key is None or row.model_size_bytes is None or row.model_sha256 is None:
        return None
    return StoredObject(row.model_key, row.model_size_bytes, row.model_sha256)


def record_model(session: Session, ensemble_id: str, stored: StoredObject) -> None:
    """Keep where an ensemble's one file is, unless another worker was faster: equal members give equal files."""
    session.execute(
        update(EnsembleRow)
        .where(EnsembleRow.id == ensemble_id, EnsembleRow.model_key.is_(None))
        .values(
            model_key=stored.key, model_size_bytes=stored.size_bytes, model_sha256=stored.sha256, model_error=null()
        )
        .execution_options(synchronize_session=False)
    )


@dataclass(frozen=True)
class Ballots:
    """What a prediction by an ensemble needs: how it votes, and each member's job, weight and model."""

    voting: Voting
    members: tuple[tuple[str, float, StoredArtifact], ...]


_BALLOTS = (
    select(
        *(EnsembleRow.voting, EnsembleRow.formed_at, EnsembleMemberRow.job_id, EnsembleMemberRow.weight),
        *(ArtifactRow.name, ArtifactRow.media_type, ArtifactRow.key, ArtifactRow.size_bytes, ArtifactRow.sha256),
    )
    .join(EnsembleMemberRow, EnsembleMemberRow.ensemble_id == EnsembleRow.id)
    .outerjoin(ArtifactRow, (ArtifactRow.job_id == EnsembleMemberRow.job_id) & (ArtifactRow.name == "model.onnx"))
    .order_by(EnsembleMemberRow.position)
)


def find_ballots(reader: Reader, tenant_id: str, ensemble_id: str) -> Ballots:
    """Return what a prediction needs, in one statement.

    Raises:
        NotFoundError: There is no such ensemble.
        ConflictError: ``ensemble_not_ready``.
    """
    rows = reader.execute(_BALLOTS.where(EnsembleRow.id == ensemble_id, EnsembleRow.tenant_id == tenant_id)).all()
    if not rows:
        raise NotFoundError("There is no such ensemble.", code="ensemble_not_found")
    if rows[0].formed_at is None:
        raise ConflictError("The ensemble's members are not all trained.", code="ensemble_not_ready")
    members = tuple(
        (row.job_id, row.weight, StoredArtifact(row.name, row.media_type, row.key, row.size_bytes, row.sha256))
        for row in rows
    )
    return Ballots(rows[0].voting, members)
