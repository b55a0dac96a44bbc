"""The ground of every schema: strict input, exact output."""

import re
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, Generic, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)

from core.clock import rfc3339

Item = TypeVar("Item")

LARGEST_INTEGER = 2**63 - 1
"""What both databases can hold."""

Moment = Annotated[
    datetime,
    PlainSerializer(rfc3339, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,40}$")]
NO_NUL = r"^[^\x00]*$"
"""What no database stores stands in no text."""

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255, pattern=NO_NUL)]


_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _check_form(value: Any) -> Any:
    """Refuse what pydantic would take for seconds since 1970: a number is more often a mistake than a moment."""
    if value is not None and not (isinstance(value, str) and _RFC3339.fullmatch(value)):
        raise ValueError("must be a moment such as 2027-01-31T12:00:00Z")
    return value


def _parse_moment(value: Any, parse: ValidatorFunctionWrapHandler) -> Any:
    moment = parse(_check_form(value))
    try:
        return moment and moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("must lie between the years 1 and 9999 in UTC") from error


AS_WRITTEN = WrapValidator(_parse_moment)
"""Lets a moment be sent in the one form of RFC 3339."""


class Wanted(BaseModel):
    """The base of what a client sends as JSON: no unknown names, no text where a number belongs."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Parameters(BaseModel):
    """The base of what a request says outside its body."""

    @classmethod
    def model_json_schema(cls, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Return the JSON Schema; the plain one, which flask-openapi asks for at every request, is made once."""
        return super().model_json_schema(*arguments, **options) if arguments or options else _plain_schema(cls)


@cache
def _plain_schema(parameters: type[Parameters]) -> dict[str, Any]:
    return parameters.model_json_schema(mode="validation")


class Query(Parameters):
    """The base of what stands behind the question mark: no unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Shape(BaseModel):
    """The base of every answer."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)


class NoOptions(Wanted):
    """An empty object: this action has no options."""


class PageQuery(Query):
    """Which page of a list."""

    limit: Annotated[int, Field(ge=1, le=200, description="Most items of the page.")] = 50
    cursor: Annotated[Id | None, Field(description="Where the page begins: the last page's `next_cursor`.")] = None


class Page(Shape, Generic[Item]):
    """One page of a list, newest first."""

    items: list[Item]
    next_cursor: Annotated[str | None, Field(description="Opens the next page; null on the last.")]


class Items(Shape, Generic[Item]):
    """A whole list."""

    items: list[Item]


class Creation(Parameters):
    """Headers of a request that creates something."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    idempotency_key: Annotated[
        str | None,
        Field(
            alias="Idempotency-Key",
            min_length=1,
            max_length=255,
            pattern=r"^[\x20-\x7e]+$",
            description="The same key and request get the first answer again, and never a second resource.",
        ),
    ] = None
