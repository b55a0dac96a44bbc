"""Problems (RFC 9457): every refusal, and what went wrong with a dataset or a job."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from api.schemas.base import Shape


class ProblemFault(Shape):
    """One fault: where, and what."""

    pointer: Annotated[str, Field(description="RFC 6901 pointer into the body, or a path in an archive.")]
    detail: str


class ProblemQuota(Shape):
    """The quota that is used up."""

    name: Annotated[str, Field(description="As `GET /quota` names it.")]
    limit: int
    used: int


class Problem(Shape):
    """Why a request was refused."""

    type: Annotated[str, Field(description="`about:blank`: `code` tells problems apart.")] = "about:blank"
    title: str
    status: int
    detail: str
    code: Annotated[str, Field(description="A stable machine word.")]
    request_id: str
    errors: list[ProblemFault] = Field(default_factory=list, description="Every fault that was found in the input.")
    quota: Annotated[
        ProblemQuota | None, Field(description="With the code `quota_exceeded`: the quota; else it is left out.")
    ] = None


class StoredProblem(Shape):
    """Why a dataset was rejected or a job failed."""

    type: str = "about:blank"
    title: str
    detail: str
    code: Annotated[str, Field(description="A stable machine word.")]
    errors: list[ProblemFault] = Field(default_factory=list)


def shape_stored(title: str, error: Mapping[str, Any] | None) -> StoredProblem | None:
    """Return a stored error as an answer shows it."""
    if error is None:
        return None
    faults = [ProblemFault(**fault) for fault in error.get("errors") or []]
    return StoredProblem(title=title, detail=error["detail"], code=error["code"], errors=faults)
