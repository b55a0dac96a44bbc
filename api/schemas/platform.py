"""The platform itself: workers, queues, presets, architectures, health."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from api.schemas.base import Moment, Shape
from core.db.rows import WorkerRow
from core.domain.architectures import ARCHITECTURES
from core.domain.presets import DEFAULT_PRESET, PRESETS


class Worker(Shape):
    """One worker host with its slots and what they work on."""

    name: str
    host: str
    role: Annotated[str, Field(description="`train` or `ingest`.")]
    device: str
    engines: Annotated[list[str], Field(description="What it computes trainings with: `torch`, `numpy`.")]
    slots: int
    busy: Annotated[int, Field(description="Slots that work.")]
    busy_jobs: Annotated[list[str], Field(description="Ids of what they work on, as far as it is one's own.")]
    started_at: Moment
    last_heartbeat_at: Moment


class Queue(Shape):
    """How much waits in one queue, and for how long the oldest has (null: nothing waits)."""

    name: str
    depth: int
    oldest_wait_seconds: float | None


class Preset(Shape):
    """A set of options that work well together."""

    name: str
    description: str
    default: Annotated[bool, Field(description="Whether it is taken where a config names none.")]
    config: Annotated[dict[str, Any], Field(description="The options that it stands for.")]


class Architecture(Shape):
    """A network that can be trained."""

    name: str
    description: str
    source: Annotated[str, Field(description="Where it is described.")]
    image_size: Annotated[int, Field(description="Side in pixels that it was made for.")]
    defaults: Annotated[dict[str, Any], Field(description="Options that come with it unless given.")]


class Health(Shape):
    """The process is up."""

    status: str


class Readiness(Shape):
    """Each backing service: `ok`, or why not."""

    database: str
    redis: str
    store: str


def shape_worker(row: WorkerRow, *, visible: set[str]) -> Worker:
    """Return a worker; of what it works on only the ids in ``visible``, for the rest is others'."""
    return Worker(
        name=row.name,
        host=row.host,
        role=row.role,
        device=row.device,
        engines=row.engines,
        slots=row.slots,
        busy=len(row.busy),
        busy_jobs=[name for name in row.busy if name in visible],
        started_at=row.started_at,
        last_heartbeat_at=row.heartbeat_at,
    )


def list_presets() -> list[Preset]:
    """Return every preset."""
    return [
        Preset(name=name, description=preset.title, default=name == DEFAULT_PRESET, config=_plain(preset.options))
        for name, preset in PRESETS.items()
    ]


def list_architectures() -> list[Architecture]:
    """Return every architecture."""
    return [
        Architecture(
            name=name,
            description=architecture.title,
            source=architecture.source,
            image_size=architecture.image_size,
            defaults=_plain(architecture.defaults),
        )
        for name, architecture in ARCHITECTURES.items()
    ]


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
