"""Everything that routes stand on, gathered once per process."""

from dataclasses import dataclass, field
from typing import Protocol, cast

from flask import Flask, current_app

from api.models import Models
from api.pictures import Pictures
from api.queue import Outbox
from api.rates import Rates
from api.readiness import Probes
from api.streams import Streams
from core.db.engine import Sessions
from core.inference.decoders import ReadImages
from core.settings import Settings
from core.storage.store import ObjectStore

_EXTENSION = "lenet"


class Decoders(Protocol):
    """Where the images of strangers are decoded."""

    def reader(self) -> ReadImages:
        """Return what reads the images of one request."""

    def start_ahead(self) -> None:
        """Make ready in the background for the first image."""


@dataclass(frozen=True, kw_only=True)
class Ports:
    """The settings and what they opened.

    Attributes:
        sessions: Makes sessions of the database.
        store: Holds archives, models and other bytes.
        outbox: Takes wake-ups after a commit.
        models: Exported models, ready to predict.
        decoders: Read the images to predict, in processes of their own.
        probes: What readiness asks.
        streams: Bounds the event streams.
        rates: Counts requests; by itself in this process alone.
        pictures: Draws what is not stored.
    """

    settings: Settings
    sessions: Sessions
    store: ObjectStore
    outbox: Outbox
    models: Models
    decoders: Decoders
    probes: Probes
    streams: Streams
    rates: Rates = field(default_factory=Rates)
    pictures: Pictures = field(default_factory=Pictures)


def attach(app: Flask, ports: Ports) -> None:
    """Give the ports to an application's routes."""
    app.extensions[_EXTENSION] = ports


def find_ports(app: Flask) -> Ports:
    """Return the ports that an application stands on."""
    return cast("Ports", app.extensions[_EXTENSION])


def ports() -> Ports:
    """Return the ports of the application that answers this request."""
    return find_ports(current_app)
