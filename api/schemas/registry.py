"""The registry of models, as requests ask for it and answers show it."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from api.schemas.base import Id, Moment, Page, Query, Shape, Wanted
from core.db.rows import ModelAliasChangeRow, ModelAliasRow, ModelVersionRow
from core.errors import Fault, InvalidError
from core.services.registry import Model as Stored
from core.services.registry import Source

LARGEST_VERSION = 2**31 - 1
ModelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
_Description = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=10_000)]
_Version = Annotated[int, Field(ge=1, le=LARGEST_VERSION)]


class ModelRequest(Wanted):
    """A name for the versions of a model."""

    name: Annotated[ModelName, Field(description="Letters, digits and `._-`; what stands in the path.")]
    description: Annotated[_Description | None, Field(description="For people.")] = None


class VersionRequest(Wanted):
    """The next version of a model: a job's, or an ensemble."""

    job_id: Annotated[Id | None, Field(description="A job that has succeeded.")] = None
    ensemble_id: Annotated[Id | None, Field(description="An ensemble that is ready.")] = None
    description: Annotated[_Description | None, Field(description="What is new in it, for people.")] = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Refuse both and neither."""
        if (self.job_id is None) == (self.ensemble_id is None):
            wrong = "is missing: give it, or ensemble_id" if self.job_id is None else "stands beside ensemble_id"
            raise InvalidError("A version is one job or one ensemble.", faults=[Fault("/job_id", wrong)])
        return self

    def to_source(self) -> Source:
        """Return it as the service takes it."""
        return Source(self.job_id, self.ensemble_id)


class AliasRequest(Wanted):
    """Where an alias is to point."""

    version: Annotated[_Version, Field(description="A version of this model.")]


class VersionQuery(Query):
    """Which page of versions."""

    limit: Annotated[int, Field(ge=1, le=200, description="Most items of the page.")] = 50
    cursor: Annotated[str | None, Field(pattern=r"^[1-9][0-9]{0,8}$", description="The last page's `next_cursor`.")] = (
        None
    )

    @property
    def before(self) -> int | None:
        """Return the version before which the page begins."""
        return None if self.cursor is None else int(self.cursor)


class Alias(Shape):
    """A word for a version, who set it there and when."""

    alias: str
    version: int
    set_at: Moment
    set_by: Annotated[str, Field(description="The id of the key.")]


class AliasChange(Shape):
    """One change of an alias."""

    alias: str
    before: Annotated[int | None, Field(description="The version; null: there was no such alias.")]
    after: Annotated[int | None, Field(description="The version; null: it was taken away.")]
    at: Moment
    by: Annotated[str, Field(description="The id of the key.")]


class Model(Shape):
    """A named model."""

    id: str
    name: str
    description: str | None
    last_version: Annotated[int, Field(description="0: it has had none yet.")]
    aliases: list[Alias]
    created_at: Moment
    created_by: Annotated[str, Field(description="The id of the key.")]


class ModelVersion(Shape):
    """One version of a model; it never changes."""

    name: str
    version: int
    job_id: str | None
    ensemble_id: str | None
    description: str | None
    created_at: Moment
    created_by: Annotated[str, Field(description="The id of the key.")]


def shape_alias(row: ModelAliasRow) -> Alias:
    """Return an alias as answers show it."""
    return Alias(alias=row.alias, version=row.version, set_at=row.set_at, set_by=row.set_by)


def shape_changes(rows: Iterable[ModelAliasChangeRow]) -> list[AliasChange]:
    """Return changes of aliases as answers show them."""
    return [AliasChange(alias=row.alias, before=row.before, after=row.after, at=row.at, by=row.by) for row in rows]


def shape_model(model: Stored) -> Model:
    """Return a model as answers show it."""
    row = model.row
    return Model(
        id=row.id,
        name=row.name,
        description=row.description,
        last_version=row.last_version,
        aliases=[shape_alias(alias) for alias in model.aliases],
        created_at=row.created_at,
        created_by=row.created_by,
    )


def shape_version(name: str, row: ModelVersionRow) -> ModelVersion:
    """Return a version as answers show it."""
    return ModelVersion(
        name=name,
        version=row.version,
        job_id=row.job_id,
        ensemble_id=row.ensemble_id,
        description=row.description,
        created_at=row.created_at,
        created_by=row.created_by,
    )


def shape_versions(name: str, rows: Sequence[ModelVersionRow], next_version: int | None) -> Page[ModelVersion]:
    """Return a page of versions as answers show it."""
    cursor = None if next_version is None else str(next_version)
    return Page[ModelVersion](items=[shape_version(name, row) for row in rows], next_cursor=cursor)
