"""What is believed of a message from the queue: the name of a task of ours and one id. The rest is made anew."""

import json
import re
import uuid
from base64 import b64decode, b64encode
from datetime import UTC, datetime
from typing import Any

from core.domain import tasks

# Ours are shorter than a kibibyte.
MOST_BYTES = 16 * 1024
_ID = re.compile(r"[a-z]{1,16}_[0-9a-z]{1,64}")
_ENCODING = {"content-type": "application/json", "content-encoding": "utf-8"}


class ForeignMessageError(Exception):
    """The message is none that this platform sends; the text says in what, and repeats nothing of it."""


def rebuild(raw: bytes, queue: str) -> bytes | None:
    """Return the message that Celery may see in place of ``raw``; ``None`` where its time has passed.

    Whoever can write to Redis can send what they like: serializers, compression, delays, limits, callbacks. None of it
    is taken over, so that nothing but a known task with the id of something can come of a message.

    Args:
        raw: What came from Redis.
        queue: The queue that it came from.

    Raises:
        ForeignMessageError: It is not a JSON message of a task of this queue with its one id.
    """
    if len(raw) > MOST_BYTES:
        raise ForeignMessageError(f"it has {len(raw)} bytes")
    envelope = _mapping(_parse(raw), "it is")
    headers = _mapping(envelope.get("headers"), "its headers are")
    task = headers.get("task")
    if not isinstance(task, str) or task not in tasks.TASKS_OF.get(queue, ()):
        raise ForeignMessageError("its task is none of this queue")
    arguments = _read_arguments(envelope)
    if not _fits(task, arguments):
        raise ForeignMessageError("its arguments are not those of the task")
    if _has_passed(headers.get("expires")):
        return None
    return _write(task, arguments, queue)


def _parse(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ForeignMessageError("it is not JSON") from None


def _mapping(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ForeignMessageError(f"{name} no JSON object")
    return value


def _read_arguments(envelope: dict[str, Any]) -> list[Any]:
    """Return the positional arguments; there may be none by name."""
    if {name: envelope.get(name) for name in _ENCODING} != _ENCODING:
        raise ForeignMessageError("its body is not of JSON's media type")
    try:
        body = _parse(b64decode(str(envelope.get("body")), validate=True))
    except ValueError:
        raise ForeignMessageError("its body cannot be decoded") from None
    match body:
        case [list(arguments), {**named}, *_] if not named:
            return arguments
        case _:
            raise ForeignMessageError("its arguments are not those of the task")


def _fits(task: str, arguments: list[Any]) -> bool:
    if task not in tasks.WITH_ID:
        return not arguments
    return len(arguments) == 1 and isinstance(arguments[0], str) and _ID.fullmatch(arguments[0]) is not None


def _has_passed(expires: object) -> bool:
    """Return whether a time is past; one that cannot be read counts for none."""
    if not isinstance(expires, str):
        return False
    try:
        moment = datetime.fromisoformat(expires)
    except ValueError:
        return False
    return moment.replace(tzinfo=moment.tzinfo or UTC) < datetime.now(UTC)


def _write(task: str, arguments: list[Any], queue: str) -> bytes:
    """Return a message of Celery's protocol, version 2."""
    name = str(uuid.uuid4())
    body = json.dumps([arguments, {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
    return json.dumps(
        {
            **_ENCODING,
            "body": b64encode(body.encode()).decode(),
            "headers": {"lang": "py", "task": task, "id": name, "root_id": name, "retries": 0, "ignore_result": True},
            "properties": {
                "body_encoding": "base64",
                "correlation_id": name,
                "delivery_tag": name,
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": queue},
                "priority": 0,
            },
        }
    ).encode()
