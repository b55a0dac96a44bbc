"""Every setting of the platform: one frozen model, the only reader of the environment."""

import os
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, SecretStr, StringConstraints, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from core.domain.credentials import is_well_known, read_secrets
from core.domain.quotas import NO_LIMITS, QUOTAS, Limits

ENVIRONMENT_PREFIX = "LENET_"
Value = TypeVar("Value")


def _split(given: Any) -> Any:
    """Return the parts of a text with commas; anything else as it is."""
    return tuple(part.strip() for part in given.split(",") if part.strip()) if isinstance(given, str) else given


Listed = Annotated[tuple[Value, ...], NoDecode, BeforeValidator(_split)]
"""A variable whose values are parted by commas."""

HostName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]*$|^\[[0-9A-Fa-f:.]+\]$")]
Origin = Annotated[str, StringConstraints(pattern=r"^https?://[a-z0-9._-]+(:[0-9]{1,5})?$")]


def _cores() -> int:
    """Return how many processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Settings(BaseSettings):
    """Settings read from variables that begin with ``LENET_``; each default is the embedded mode's."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True
    )

    data_dir: Annotated[Path, Field(description="Folder of everything that the embedded mode keeps.")] = Path("data")
    database_url: Annotated[
        SecretStr | None, Field(description="SQLAlchemy URL. Unset: SQLite in the data directory.")
    ] = None
    redis_url: Annotated[
        SecretStr | None, Field(description="Redis for the queue. Unset: `lenet up` starts one of its own.")
    ] = None
    store_url: Annotated[
        SecretStr | None,
        Field(
            description="`file:///folder` or `s3://bucket?endpoint=host:port&secure=true&region=us-east-1`. "
            "Unset: a folder in the data directory."
        ),
    ] = None
    store_access_key: Annotated[SecretStr | None, Field(description="Access key of the S3 store.")] = None
    store_secret_key: Annotated[SecretStr | None, Field(description="Secret key of the S3 store.")] = None

    api_host: Annotated[str, Field(description="Address that the API listens on.")] = "127.0.0.1"
    api_port: Annotated[int, Field(ge=0, le=65535, description="Port that the API listens on.")] = 8000
    api_key: Annotated[
        SecretStr | None, Field(min_length=16, description="The first administrator's key, 16 characters at least.")
    ] = None
    api_threads: Annotated[int, Field(ge=1, description="Threads of each API process.")] = 32
    api_processes: Annotated[int, Field(ge=1, description="API processes.")] = 1
    allowed_hosts: Annotated[
        Listed[HostName],
        Field(
            description="Names that the API answers to beside this machine's own, with commas between. "
            "Unset: on the loopback address no others, elsewhere any."
        ),
    ] = ()
    trusted_proxies: Annotated[
        Listed[IPv4Network | IPv6Network],
        Field(
            description="Addresses or networks of proxies whose `X-Forwarded-For`, `-Proto` and `-Host` are believed, "
            "with commas between. Unset: nobody's."
        ),
    ] = ()
    cors_origins: Annotated[
        Listed[Origin],
        Field(
            description="Origins such as `https://lenet.example` whose pages may use the API from a browser, with "
            "commas between. Unset: none."
        ),
    ] = ()
    client_patience_seconds: Annotated[
        float,
        Field(gt=0, description="How long a client may take for a request's head, or a portion of a body or answer."),
    ] = 10.0
    client_bytes_per_second: Annotated[
        int, Field(ge=1, description="Least rate over that time at which a client must send a body and take an answer.")
    ] = 1024

    max_upload_bytes: Annotated[int, Field(ge=1, description="Largest archive that is taken.")] = 10 * 2**30
    max_request_bytes: Annotated[int, Field(ge=1, description="Largest JSON body.")] = 2**20
    max_predict_bytes: Annotated[int, Field(ge=1, description="Largest body of a prediction.")] = 64 * 2**20
    max_predict_images: Annotated[int, Field(ge=1, description="Most images in one prediction.")] = 2000
    predict_threads: Annotated[
        int, Field(ge=1, description="Threads that compute one prediction; requests already run side by side.")
    ] = 1
    archive_max_entries: Annotated[int, Field(ge=1, description="Most entries in an archive.")] = 1_100_000
    archive_max_bytes: Annotated[int, Field(ge=1, description="Most bytes that an archive may unpack to.")] = 50 * 2**30
    archive_max_entry_bytes: Annotated[int, Field(ge=1, description="Most bytes of one unpacked entry.")] = 64 * 2**20
    archive_max_ratio: Annotated[
        float, Field(gt=1, description="Most unpacked bytes for each packed one, over the whole archive.")
    ] = 100.0
    image_max_pixels: Annotated[int, Field(ge=1, description="Most pixels of one image.")] = 40_000_000
    decode_memory_bytes: Annotated[
        int, Field(ge=2**28, description="Address space that a decoding process may take.")
    ] = 4 * 2**30
    decode_timeout_seconds: Annotated[
        float, Field(gt=0, description="Longest time without progress before a decoding process is ended.")
    ] = 60.0
    decode_total_seconds: Annotated[
        float, Field(gt=0, description="Longest time that decoding one archive may take in all.")
    ] = 6 * 3600.0
    predict_processes: Annotated[
        int, Field(ge=1, description="Processes of each API process that decode the images of predictions.")
    ] = 2
    predict_timeout_seconds: Annotated[
        float, Field(gt=0, description="Longest time that decoding the images of one request may take.")
    ] = 20.0

    quota_stored_bytes: Annotated[
        int, Field(ge=0, description="Most bytes that a tenant may have stored; 0: no limit.")
    ] = 0
    quota_datasets: Annotated[int, Field(ge=0, description="Most datasets of a tenant; 0: no limit.")] = 10_000
    quota_queued_jobs: Annotated[int, Field(ge=0, description="Most waiting jobs of a tenant; 0: no limit.")] = 10_000
    quota_running_jobs: Annotated[
        int, Field(ge=0, description="Most jobs of a tenant that train at once, the others wait; 0: no limit.")
    ] = 0
    quota_device_seconds_per_day: Annotated[
        int, Field(ge=0, description="Most seconds that a tenant's jobs hold slots within a day in UTC; 0: no limit.")
    ] = 0
    quota_requests_per_minute: Annotated[
        int, Field(ge=0, description="Most requests a minute of a tenant's keys together; 0: no limit.")
    ] = 60_000
    bad_keys_per_minute: Annotated[
        int, Field(ge=0, description="Wrong keys a minute from one address before it is told to wait; 0: no limit.")
    ] = 100

    lease_seconds: Annotated[float, Field(gt=0, description="How long a claim holds without a heartbeat.")] = 30.0
    heartbeat_seconds: Annotated[float, Field(gt=0, description="How often a claim is extended.")] = 5.0
    sweep_seconds: Annotated[float, Field(gt=0, description="How often leases and unsent jobs are looked at.")] = 5.0
    garbage_seconds: Annotated[
        float, Field(gt=0, description="Age at which an object that no row names is deleted.")
    ] = 24 * 3600.0
    poll_seconds: Annotated[
        float, Field(gt=0, description="How often a free slot looks for work without a message.")
    ] = 15.0
    stall_seconds: Annotated[
        float,
        Field(gt=0, description="Least silence before a trainer is ended as stalled."),
    ] = 60.0
    max_attempts: Annotated[int, Field(ge=1, description="Attempts after which a job that loses its worker fails.")] = 3

    worker_slots: Annotated[int, Field(ge=1, description="Trainings at once on this host.")] = Field(
        default_factory=_cores
    )
    worker_threads: Annotated[
        int | None,
        Field(ge=1, description="Threads of each slot, for either engine. Unset: its share of the cores."),
    ] = None
    worker_device: Annotated[Literal["auto", "cpu", "cuda"], Field(description="What this host trains on.")] = "auto"
    worker_nice: Annotated[int, Field(ge=0, le=19, description="Niceness of trainings and decoding.")] = 10
    pack_cache_bytes: Annotated[int, Field(ge=0, description="Bound of a host's cache of packs.")] = 20 * 2**30
    model_cache_bytes: Annotated[int, Field(ge=0, description="Bound of the API's cache of models.")] = 64 * 2**20

    log_format: Annotated[Literal["console", "json"], Field(description="Form of the log lines.")] = "console"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="Least level that is logged.")
    ] = "info"

    @field_validator("database_url", "redis_url", "store_secret_key", "api_key")
    @classmethod
    def _refuse_what_everybody_knows(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and any(map(is_well_known, read_secrets(value.get_secret_value()))):
            raise ValueError("it has a default that everybody knows for a secret; choose another")
        return value

    @cached_property
    def secrets(self) -> frozenset[str]:
        """Return every word of the settings that must never be shown."""
        holders = (self.database_url, self.redis_url, self.store_url, self.store_secret_key, self.api_key)
        given = (holder.get_secret_value() for holder in holders if holder is not None)
        return frozenset().union(*map(read_secrets, given))

    @cached_property
    def limits(self) -> Limits:
        """Return the quotas of a tenant that has none of its own."""
        given = {quota: int(getattr(self, f"quota_{quota}")) for quota in QUOTAS}
        return NO_LIMITS.but({quota: limit or None for quota, limit in given.items()})

    @cached_property
    def database(self) -> str:
        """Return the SQLAlchemy URL in force."""
        return (
            self.database_url.get_secret_value()
            if self.database_url
            else f"sqlite:///{self.data_dir.resolve()}/lenet.db"
        )

    @cached_property
    def store(self) -> str:
        """Return the store's URL in force."""
        return self.store_url.get_secret_value() if self.store_url else (self.data_dir.resolve() / "objects").as_uri()

    @cached_property
    def redis(self) -> str:
        """Return the URL of Redis in force; the embedded start sets the variable to its own."""
        return self.redis_url.get_secret_value() if self.redis_url else "redis://127.0.0.1:6379/0"

    @cached_property
    def listens_on_loopback(self) -> bool:
        """Return whether the API can be reached from this machine alone."""
        try:
            return self.api_host == "localhost" or ip_address(self.api_host).is_loopback
        except ValueError:
            return False

    @cached_property
    def cache_dir(self) -> Path:
        """Return the folder of a host's caches and scratch files."""
        return self.data_dir / "cache"

    @cached_property
    def threads_per_slot(self) -> int:
        """Return the threads of each slot: as set, else its share of the cores, at least one."""
        return self.worker_threads or max(1, _cores() // self.worker_slots)
