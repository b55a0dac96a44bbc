"""Creations that a client may send again: the same key and request get the first answer."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import request
from pydantic import BaseModel
from sqlalchemy.exc import IntegrityError as DuplicateError
from sqlalchemy.orm import Session

from api.answers import to_json
from api.auth import principal
from api.ports import ports
from api.schemas.base import Creation
from core.crash_points import reach
from core.db.engine import transaction
from core.errors import ConflictError
from core.services import idempotency
from core.services.idempotency import Answer
from core.services.messages import WakeUp


@dataclass(frozen=True)
class Created:
    """What a creation answers, and the wake-ups that it needs.

    Attributes:
        shape: The resource.
        status: 201, 202, or 200 where it was there.
        location: Where it is.
        wake_ups: Sent after the commit.
        kept: What is kept to be answered again, where that is not all of it.
    """

    shape: BaseModel
    status: int
    location: str
    wake_ups: tuple[WakeUp, ...] = ()
    kept: BaseModel | None = None


def create(headers: Creation, *, content: bytes, work: Callable[[Session], Created]) -> Answer:
    """Do ``work`` in one transaction and send its wake-ups after it, or give the answer that it had before.

    Args:
        headers: May hold the idempotency key.
        content: What tells the request's body from another.
        work: Creates the resource; it is done again where another request was faster by a moment.

    Raises:
        InvalidError: ``idempotency_key_reused``.
    """
    try:
        return _create(headers, content, work)
    except (DuplicateError, ConflictError) as error:
        if isinstance(error, ConflictError) and error.code != "idempotency_key_in_use":
            raise
        # The other request has committed, or there would be no conflict: what it made is found this time.
        return _create(headers, content, work)


def _create(headers: Creation, content: bytes, work: Callable[[Session], Created]) -> Answer:
    tenant_id, key = principal().tenant_id, headers.idempotency_key
    with transaction(ports().sessions) as session:
        if key is not None:
            first = idempotency.recall(session, tenant_id, key, _fingerprint(content))
            if first is not None:
                return first
        created = work(session)
        if key is not None:
            kept = to_json(created.kept or created.shape)
            idempotency.remember(session, tenant_id, key, Answer(created.status, kept, created.location))
    reach("api.commit_before_publish")
    ports().outbox.post(created.wake_ups)
    reach("api.publish_before_reply")
    return Answer(created.status, to_json(created.shape), created.location)


def _fingerprint(content: bytes) -> str:
    parts: list[Any] = [request.method, request.path, sorted(request.args.items(multi=True))]
    return hashlib.sha256(repr(parts).encode() + content).hexdigest()
