"""Logging: JSON or console lines, the ids of request and job bound once and carried by each line."""

import logging
import sys
from collections.abc import Collection
from contextlib import AbstractContextManager
from typing import Any

import structlog

from core.settings import Settings

# So short a word may stand in a line by chance.
_SHORTEST_SECRET = 8
_HIDDEN = "[hidden]"


class _Discreet(structlog.stdlib.ProcessorFormatter):
    """A formatter whose lines hold none of our secrets, whatever a library's error repeats of its arguments."""

    def __init__(self, secrets: Collection[str], **options: Any) -> None:
        super().__init__(**options)
        self._secrets = sorted((secret for secret in secrets if len(secret) >= _SHORTEST_SECRET), key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        for secret in self._secrets:
            line = line.replace(secret, _HIDDEN)
        return line


def configure(settings: Settings) -> None:
    """Send every log line of this process, the libraries' too, to standard error in the set form."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    formatter = _Discreet(
        settings.secrets,
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _keep_to_its_line,
            renderer,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    # It tells of each plug-in that it finds, whenever it is imported.
    logging.getLogger("alembic").setLevel(logging.WARNING)


def _keep_to_its_line(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Escape control characters in what is said, and set off the lines of an error: nothing in them begins a line.

    What somebody sent may stand in either, and must not pass for a line of the log, or steer a terminal. Renderers
    escape the other values.
    """
    event["event"] = _escape(str(event.get("event", "")))
    if isinstance(event.get("exception"), str):
        event["exception"] = "\n".join(f"  | {_escape(line)}" for line in event["exception"].split("\n"))
    return event


def _escape(text: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def get(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def bound(**ids: str | int | None) -> AbstractContextManager[object]:
    """Carry ``ids`` on every line that this thread logs within the block."""
    return structlog.contextvars.bound_contextvars(**ids)
