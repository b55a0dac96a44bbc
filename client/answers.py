"""Answers as values: parse one, parse a list, follow pages, wait for an end."""

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from client.errors import InputError, UnexpectedAnswerError, WaitTimeoutError
from client.types import Page

M = TypeVar("M", bound=BaseModel)

POLL_SECONDS = 0.5
PAGE_ITEMS = 200


def to_segment(word: str) -> str:
    """Return an id or a name as one segment of a path; refuse what would be another path."""
    if not word or word in {".", ".."} or set(word) & set("/\\?#%") or not word.isprintable():
        raise InputError(f"{word!r} is not an id or a name.")
    return word


def parse(kind: type[M], answer: Any) -> M:
    """Return an answer as a value; raise `UnexpectedAnswerError` where it is not one."""
    try:
        return kind.model_validate(answer)
    except ValidationError as error:
        first = error.errors()[0]
        raise UnexpectedAnswerError(
            f"The answer is not a {kind.__name__}: {'.'.join(map(str, first['loc']))}: {first['msg']}."
        ) from error


def parse_items(kind: type[M], answer: Any, key: str = "items") -> list[M]:
    """Return the values of a list that an answer has under ``key``."""
    listed = answer.get(key) if isinstance(answer, dict) else None
    if not isinstance(listed, list):
        raise UnexpectedAnswerError(f"The answer has no list {key!r}.")
    return [parse(kind, item) for item in listed]


def follow(page: Callable[[str | None], Page[M]]) -> Iterator[M]:
    """Yield the items of every page, asking for each page when it is come to."""
    cursor: str | None = None
    while True:
        found = page(cursor)
        yield from found.items
        cursor = found.next_cursor
        if cursor is None:
            return


def poll(
    get: Callable[[], M],
    ended: Callable[[M], bool],
    *,
    on_update: Callable[[M], None] | None,
    timeout_seconds: float | None,
    sleep: Callable[[float], None],
) -> M:
    """Ask again and again until it has ended.

    Args:
        get: Asks once.
        ended: Whether what came is the end.
        on_update: Called with what came first, and each time that it has changed.
        timeout_seconds: How long at most; ``None`` for ever.
        sleep: How to wait between.

    Raises:
        WaitTimeoutError: The time was over first.
    """
    deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    seen: M | None = None
    while True:
        now = get()
        if on_update and now != seen:
            on_update(now)
        if ended(now):
            return now
        if deadline is not None and time.monotonic() >= deadline:
            raise WaitTimeoutError(f"It had not ended after {timeout_seconds:g} seconds; it goes on.")
        seen = now
        sleep(POLL_SECONDS)
