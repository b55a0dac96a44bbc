"""The registry: names under which versions of models are known, and words that point at one of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError as DuplicateError
from sqlalchemy.orm import Session

from core.db.engine import Reader, read_clock
from core.db.rows import ModelAliasChangeRow, ModelAliasRow, ModelRow, ModelVersionRow
from core.domain.ensembles import EnsembleStatus
from core.domain.identifiers import new_id
from core.domain.jobs import JobStatus
from core.errors import ConflictError, NotFoundError
from core.services.ensembles import get_ensemble
from core.services.jobs import get_job
from core.services.paging import Page, read_page


@dataclass(frozen=True)
class Source:
    """What a version is: the model of a job, or an ensemble; exactly one of them is named."""

    job_id: str | None
    ensemble_id: str | None


@dataclass(frozen=True)
class Model:
    """A named model with the aliases that point at its versions, by name."""

    row: ModelRow
    aliases: tuple[ModelAliasRow, ...]


def create_model(session: Session, tenant_id: str, name: str, *, description: str | None, actor: str) -> Model:
    """Store a name without any version; raises `ConflictError` (``model_exists``) where the tenant has it already."""
    row = ModelRow(
        id=new_id("mdl"),
        tenant_id=tenant_id,
        name=name,
        description=description,
        last_version=0,
        created_at=read_clock(session),
        created_by=actor,
    )
    try:
        with session.begin_nested():
            session.add(row)
    except DuplicateError as error:
        raise ConflictError(f"There is a model named {name!r} already.", code="model_exists") from error
    return Model(row, ())


def get_model(session: Session, tenant_id: str, name: str) -> Model:
    """Return a model of a tenant; raises `NotFoundError`."""
    row = _find(session, tenant_id, name)
    return Model(row, _read_aliases(session, [row.id])[row.id])


def list_models(session: Session, tenant_id: str, *, limit: int, cursor: str | None = None) -> Page[Model]:
    """Return a page of a tenant's models, newest first."""
    query = select(ModelRow).where(ModelRow.tenant_id == tenant_id)
    page = read_page(session, query, ModelRow.id, limit=limit, cursor=cursor)
    aliases = _read_aliases(session, [row.id for row in page.items])
    return Page([Model(row, aliases[row.id]) for row in page.items], page.next_cursor)


def delete_model(session: Session, tenant_id: str, name: str) -> None:
    """Delete a model with its versions and its history; jobs and ensembles stay.

    Raises:
        NotFoundError: There is no such model.
        ConflictError: ``model_in_use`` while an alias points at one of its versions.
    """
    row = _find(session, tenant_id, name, lock=True)
    if aliases := _read_aliases(session, [row.id])[row.id]:
        names = ", ".join(alias.alias for alias in aliases)
        raise ConflictError(f"Aliases point at its versions ({names}); delete them first.", code="model_in_use")
    for table in (ModelAliasChangeRow, ModelVersionRow):
        session.execute(delete(table).where(table.model_id == row.id))
    session.execute(delete(ModelRow).where(ModelRow.id == row.id))


def add_version(
    session: Session, tenant_id: str, name: str, source: Source, *, description: str | None, actor: str
) -> ModelVersionRow:
    """Store the next version of a model; it never changes, and what it is made of stays while it is there.

    Raises:
        NotFoundError: There is no such model, job or ensemble of this tenant.
        ConflictError: ``job_not_succeeded`` or ``ensemble_not_ready``.
    """
    model = _find(session, tenant_id, name, lock=True)
    _check_source(session, tenant_id, source)
    model.last_version += 1
    row = ModelVersionRow(
        model_id=model.id,
        version=model.last_version,
        job_id=source.job_id,
        ensemble_id=source.ensemble_id,
        description=description,
        created_at=read_clock(session),
        created_by=actor,
    )
    session.add(row)
    session.flush()
    return row


def _check_source(session: Session, tenant_id: str, source: Source) -> None:
    """Refuse what cannot predict, and keep what can from being deleted until the transaction ends."""
    if (
        source.job_id is not None
        and get_job(session, tenant_id, source.job_id, lock=True).status != JobStatus.SUCCEEDED
    ):
        raise ConflictError("The job has no model: it has not succeeded.", code="job_not_succeeded")
    if source.ensemble_id is not None:
        ensemble = get_ensemble(session, tenant_id, source.ensemble_id, lock=True)
        if ensemble.status != EnsembleStatus.READY:
            raise ConflictError("The ensemble's members are not all trained.", code="ensemble_not_ready")


def list_versions(
    session: Session, tenant_id: str, name: str, *, limit: int, before: int | None = None
) -> tuple[Sequence[ModelVersionRow], int | None]:
    """Return versions of a model, newest first, those before ``before``; and where the next page begins."""
    model = _find(session, tenant_id, name)
    query = select(ModelVersionRow).where(ModelVersionRow.model_id == model.id)
    if before is not None:
        query = query.where(ModelVersionRow.version < before)
    rows = session.scalars(query.order_by(ModelVersionRow.version.desc()).limit(limit + 1)).all()
    return rows[:limit], rows[limit - 1].version if len(rows) > limit else None


def get_version(session: Session, tenant_id: str, name: str, version: int) -> ModelVersionRow:
    """Return one version of a model; raises `NotFoundError`."""
    return _find_version(session, _find(session, tenant_id, name), version)


def delete_version(session: Session, tenant_id: str, name: str, version: int) -> None:
    """Delete one version; its number is never given again.

    Raises:
        NotFoundError: There is no such version.
        ConflictError: ``version_in_use`` while an alias points at it.
    """
    model = _find(session, tenant_id, name, lock=True)
    row = _find_version(session, model, version)
    pointing = [alias.alias for alias in _read_aliases(session, [model.id])[model.id] if alias.version == version]
    if pointing:
        detail = f"Aliases point at the version ({', '.join(pointing)}); set them to another one first."
        raise ConflictError(detail, code="version_in_use")
    session.delete(row)


def set_alias(session: Session, tenant_id: str, name: str, alias: str, version: int, *, actor: str) -> ModelAliasRow:
    """Let an alias point at a version, which leaves a row of who did it, when, and what it was before.

    Setting it to where it points already changes nothing.

    Raises:
        NotFoundError: There is no such version.
    """
    model = _find(session, tenant_id, name, lock=True)
    _find_version(session, model, version)
    present = session.get(ModelAliasRow, (model.id, alias))
    if present is not None and present.version == version:
        return present
    before = None if present is None else present.version
    _record(session, model, alias, before=before, after=version, actor=actor)
    row = ModelAliasRow(model_id=model.id, alias=alias, version=version, set_at=read_clock(session), set_by=actor)
    return session.merge(row)


def get_alias(session: Session, tenant_id: str, name: str, alias: str) -> ModelAliasRow:
    """Return an alias of a model; raises `NotFoundError`."""
    row = session.get(ModelAliasRow, (_find(session, tenant_id, name).id, alias))
    if row is None:
        raise _no_alias()
    return row


def delete_alias(session: Session, tenant_id: str, name: str, alias: str, *, actor: str) -> None:
    """Take an alias away; its history stays. Raises `NotFoundError`."""
    model = _find(session, tenant_id, name, lock=True)
    row = session.get(ModelAliasRow, (model.id, alias))
    if row is None:
        raise _no_alias()
    _record(session, model, alias, before=row.version, after=None, actor=actor)
    session.delete(row)


def list_changes(session: Session, tenant_id: str, name: str, *, alias: str | None) -> Sequence[ModelAliasChangeRow]:
    """Return every change of a model's aliases, or of one of them, newest first."""
    model = _find(session, tenant_id, name)
    query = select(ModelAliasChangeRow).where(ModelAliasChangeRow.model_id == model.id)
    if alias is not None:
        query = query.where(ModelAliasChangeRow.alias == alias)
    return session.scalars(query.order_by(ModelAliasChangeRow.id.desc())).all()


def find_source(reader: Reader, tenant_id: str, name: str, reference: str) -> Source:
    """Return what a version is, named by its number or by an alias; in one statement, for each prediction asks it.

    Raises:
        NotFoundError: There is no such model, version or alias.
    """
    query = (
        select(ModelVersionRow.job_id, ModelVersionRow.ensemble_id)
        .join(ModelRow, ModelRow.id == ModelVersionRow.model_id)
        .where(ModelRow.tenant_id == tenant_id, ModelRow.name == name)
    )
    if reference.isdecimal():
        query = query.where(ModelVersionRow.version == int(reference))
    else:
        query = query.join(
            ModelAliasRow,
            (ModelAliasRow.model_id == ModelVersionRow.model_id) & (ModelAliasRow.version == ModelVersionRow.version),
        ).where(ModelAliasRow.alias == reference)
    found = reader.execute(query).one_or_none()
    if found is None:
        raise _explain_missing(reader, tenant_id, name, reference)
    return Source(found.job_id, found.ensemble_id)


def _explain_missing(reader: Reader, tenant_id: str, name: str, reference: str) -> NotFoundError:
    """Return why `find_source` found nothing."""
    known = reader.execute(select(ModelRow.id).where(ModelRow.tenant_id == tenant_id, ModelRow.name == name))
    if known.one_or_none() is None:
        return _no_model()
    return _no_version() if reference.isdecimal() else _no_alias()


def _find(session: Session, tenant_id: str, name: str, *, lock: bool = False) -> ModelRow:
    query = select(ModelRow).where(ModelRow.tenant_id == tenant_id, ModelRow.name == name)
    row = session.scalar((query.with_for_update() if lock else query).execution_options(populate_existing=True))
    if row is None:
        raise _no_model()
    return row


def _find_version(session: Session, model: ModelRow, version: int) -> ModelVersionRow:
    row = session.get(ModelVersionRow, (model.id, version))
    if row is None:
        raise _no_version()
    return row


def _read_aliases(session: Session, model_ids: Iterable[str]) -> dict[str, tuple[ModelAliasRow, ...]]:
    found: dict[str, list[ModelAliasRow]] = {model_id: [] for model_id in model_ids}
    query = select(ModelAliasRow).where(ModelAliasRow.model_id.in_(found)).order_by(ModelAliasRow.alias)
    for row in session.scalars(query):
        found[row.model_id].append(row)
    return {model_id: tuple(rows) for model_id, rows in found.items()}


def _record(
    session: Session, model: ModelRow, alias: str, *, before: int | None, after: int | None, actor: str
) -> None:
    session.add(
        ModelAliasChangeRow(
            model_id=model.id, alias=alias, before=before, after=after, at=read_clock(session), by=actor
        )
    )


def _no_model() -> NotFoundError:
    return NotFoundError("There is no such model.", code="model_not_found")


def _no_version() -> NotFoundError:
    return NotFoundError("The model has no such version.", code="version_not_found")


def _no_alias() -> NotFoundError:
    return NotFoundError("The model has no such alias.", code="alias_not_found")
