"""Figures of the platform in the format of Prometheus."""

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from core.services.figures import Figures


class _Figures(Collector):
    """Gives figures as gauges: SQL holds them, so each API process tells the same."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """Yield each gauge."""
        figures = self._figures
        yield _by("lenet_jobs", "Jobs by status.", "status", figures.jobs)
        yield _by("lenet_datasets", "Datasets by status.", "status", figures.datasets)
        yield GaugeMetricFamily("lenet_stored_archives_bytes", "Bytes of all archives.", value=figures.stored_bytes)
        depths = {state.name: state.depth for state in figures.queues}
        waits = {state.name: state.oldest_wait_seconds or 0.0 for state in figures.queues}
        yield _by("lenet_queue_depth", "What waits in each queue.", "queue", depths)
        yield _by("lenet_queue_oldest_wait_seconds", "How long the oldest has waited.", "queue", waits)
        slots, busy = ({role: pair[place] for role, pair in figures.slots.items()} for place in (0, 1))
        yield _by("lenet_worker_slots", "Slots of the workers that are alive.", "role", slots)
        yield _by("lenet_worker_slots_busy", "Slots that work.", "role", busy)


def encode(figures: Figures) -> bytes:
    """Return the figures as a scraper reads them."""
    registry = CollectorRegistry()
    registry.register(_Figures(figures))
    return generate_latest(registry)


def _by(name: str, description: str, label: str, values: Mapping[Any, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, description, labels=[label])
    for name_of_value, value in values.items():
        family.add_metric([name_of_value], value)
    return family
