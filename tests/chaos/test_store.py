"""F24-F26: the object store killed, slow, silent, refusing and lying, between it and everybody a proxy of ours."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from chaos.caller import ANSWER_SECONDS
from chaos.platform import LEASE_SECONDS, Platform
from chaos.processes import until
from chaos.proxy import Proxy
from chaos.servers import Store, running_store

_REFUSAL = b"HTTP/1.1 %b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_LARGE_BYTES = 2048

ILLS: dict[str, dict[str, Any]] = {
    "500": {"answer": _REFUSAL % b"500 Internal Server Error"},
    "503": {"answer": _REFUSAL % b"503 Slow Down"},
    "403": {"answer": _REFUSAL % b"403 Forbidden"},
    "no HTTP": {"answer": b"\x00\x01\x02"},
    "cut short": {"limit_bytes": 10},
    "down": {"down": True},
    "silent": {"hole": True},
}


def _lie(piece: bytes) -> bytes:
    """Change the last byte of what is long enough to be an object's."""
    return piece[:-1] + bytes([piece[-1] ^ 1]) if len(piece) >= _LARGE_BYTES else piece


@pytest.fixture(scope="module")
def store(require, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Return an S3 server that can be killed."""
    with running_store(require, tmp_path_factory.mktemp("store")) as server:
        yield server


@pytest.fixture(scope="module")
def proxy(store: Store) -> Iterator[Proxy]:
    """Return the only way to it."""
    with Proxy(("127.0.0.1", store.port)) as running:
        yield running


@pytest.fixture(scope="module")
def platform(open_platform, store: Store, proxy: Proxy) -> Iterator[Platform]:
    """Return a platform on it."""
    with open_platform("sqlite", store_url=store.url(port=proxy.port), settings=Store.SETTINGS) as running:
        yield running


@pytest.fixture(autouse=True)
def _the_store_is_back(store: Store, proxy: Proxy) -> Iterator[None]:
    yield
    proxy.heal()
    if not store.process.lives:
        store.start()


@pytest.mark.parametrize("name", ILLS)
def test_a_store_in_trouble_is_refused_soon_while_what_needs_only_sql_is_served(
    platform, proxy, dataset_id, other_archive, name
) -> None:
    proxy.ail(**ILLS[name])
    proxy.reset()
    began = time.time()
    content = other_archive.read_bytes()
    for method, path, more in (
        ("POST", "/datasets", {"sent": content}),
        ("GET", f"/datasets/{dataset_id}/archive", {}),
        ("GET", f"/datasets/{dataset_id}/preview", {}),
    ):
        answer = platform.caller.call(method, path, **more)
        assert (answer.status, bool(answer.retry_after)) == (503, True), answer
    for path in ("/jobs", "/datasets", f"/datasets/{dataset_id}", "/workers"):
        assert platform.caller.call("GET", path).status == 200
    assert platform.caller.slowest(since=began) < ANSWER_SECONDS
    proxy.heal()
    platform.caller.upload(other_archive)
    platform.judge()


def test_a_store_that_is_killed_under_an_upload_gets_it_whole_the_next_time(
    platform, store, proxy, other_archive
) -> None:
    proxy.ail(bytes_per_second=20_000)
    uploading = threading.Thread(target=platform.caller.upload, args=(other_archive,))
    uploading.start()
    time.sleep(1)
    store.process.kill()
    proxy.heal()
    time.sleep(1)
    store.start()
    uploading.join()
    platform.judge()


def test_a_store_that_is_killed_under_checkpoints_costs_no_attempt(platform, store, training) -> None:
    platform.start_worker()
    job_id = training.begin()
    store.process.kill()
    time.sleep(LEASE_SECONDS + 1)
    store.start()
    training.check(job_id, ends=["succeeded"])


@pytest.mark.long
def test_a_store_that_is_killed_under_a_download_gives_the_pack_whole_the_next_time(
    platform, store, proxy, training
) -> None:
    proxy.ail(bytes_per_second=50_000)
    platform.start_worker(wait=True)
    job_id = training.submit()
    until(lambda: platform.caller.job(job_id)["status"] == "running", "the job's start")
    time.sleep(1)
    store.process.kill()
    proxy.heal()
    time.sleep(1)
    store.start()
    training.check(job_id, ends=["succeeded"])


@pytest.mark.long
def test_a_slow_store_costs_no_lease(platform, proxy, training) -> None:
    proxy.ail(bytes_per_second=1_000_000, latency_seconds=0.05)
    platform.start_worker()
    job_id = training.submit()
    training.check(job_id, ends=["succeeded"])


@pytest.mark.long
def test_a_store_that_takes_nothing_for_longer_than_a_lease_costs_no_lease(platform, proxy, training) -> None:
    platform.start_worker()
    job_id = training.begin()
    proxy.ail(bytes_per_second=5_000, latency_seconds=2)
    time.sleep(2 * LEASE_SECONDS)
    proxy.heal()
    training.check(job_id, ends=["succeeded"])


@pytest.mark.long
@pytest.mark.parametrize("name", ["503", "403", "cut short", "silent"])
def test_a_job_waits_for_a_store_in_trouble(platform, proxy, training, name) -> None:
    proxy.ail(**ILLS[name])
    proxy.reset()
    platform.start_worker()
    job_id = training.submit()
    until(lambda: platform.caller.job(job_id)["status"] == "running", "the job's start")
    time.sleep(LEASE_SECONDS)
    proxy.heal()
    training.check(job_id, ends=["succeeded"])


def test_wrong_bytes_are_never_trained_on(platform, proxy, training) -> None:
    """The hash finds them; the attempt says so, and the next one has the right ones."""
    proxy.ail(alter=_lie)
    platform.start_worker(wait=True)
    job_id = training.submit()
    until(lambda: platform.caller.ends(job_id)[:1] not in ([], [None]), "the end of the first attempt")
    proxy.heal()
    training.check(job_id)
    *broken, _ = platform.caller.ends(job_id)
    assert set(broken) == {"unavailable"}


def test_a_store_that_always_lies_fails_the_job_with_a_reason(platform, proxy, dataset_id, job) -> None:
    proxy.ail(alter=_lie)
    platform.start_worker()
    job_id = platform.caller.submit(dataset_id, job)
    failed = platform.caller.wait(job_id)
    assert failed["status"] == "failed"
    assert failed["error"]["code"] == "unavailable"
    assert platform.caller.ends(job_id) == ["unavailable"] * 3
    proxy.heal()
    platform.judge()


@pytest.mark.long
def test_everything_starts_without_the_store_and_finds_it_when_it_comes(
    platform, store, training, other_archive
) -> None:
    for process in (platform.api, platform.beat, platform.ingest):
        process.kill(below=True)
    store.process.kill()
    platform.api, platform.beat, platform.ingest = platform.start_api(), platform.start_beat(), platform.start_ingest()
    worker = platform.start_worker()
    job_id = training.submit()
    until(lambda: "waiting for what is not there yet" in platform.api.log.read_text(), "the API says what it waits for")
    until(lambda: "trying again" in worker.log.read_text(), "the worker says so too")
    store.start()
    platform.await_api()
    platform.caller.upload(other_archive)
    training.check(job_id, ends=["succeeded"])
