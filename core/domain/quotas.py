"""Quotas: how much of the platform one tenant may use."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

Quota = Literal[
    "stored_bytes", "datasets", "queued_jobs", "running_jobs", "device_seconds_per_day", "requests_per_minute"
]
QUOTAS: tuple[Quota, ...] = get_args(Quota)

UNLIMITED = 2**63 - 1
"""Stands for no limit where a number must stand: more than anybody can use, and both databases can hold it."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The bound of each quota; without one it is `UNLIMITED`.

    Attributes:
        stored_bytes: Archives, packs, checkpoints and results together, in bytes.
        datasets: Datasets, rejected ones too.
        queued_jobs: Jobs that wait.
        running_jobs: Jobs that train at once; more wait their turn.
        device_seconds_per_day: Seconds that trainings hold a slot, within a day in UTC.
        requests_per_minute: Requests of all the tenant's keys.
    """

    stored_bytes: int = UNLIMITED
    datasets: int = UNLIMITED
    queued_jobs: int = UNLIMITED
    running_jobs: int = UNLIMITED
    device_seconds_per_day: int = UNLIMITED
    requests_per_minute: int = UNLIMITED

    def __getitem__(self, quota: Quota) -> int:
        return int(getattr(self, quota))

    @property
    def hold_jobs_back(self) -> bool:
        """Whether they can make waiting jobs wait on."""
        return min(self.running_jobs, self.device_seconds_per_day) < UNLIMITED

    def but(self, own: Mapping[Quota, int | None]) -> "Limits":
        """Return the limits with those of ``own`` that are set in the place of these."""
        return replace(self, **{quota: limit for quota, limit in own.items() if limit is not None})


NO_LIMITS = Limits()
