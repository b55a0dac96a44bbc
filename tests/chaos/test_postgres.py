"""F18-F22: PostgreSQL killed, frozen, set back, its sessions ended and its rows locked."""

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import psycopg
import pytest
from chaos.caller import ANSWER_SECONDS
from chaos.platform import LEASE_SECONDS, Platform
from chaos.processes import until
from chaos.proxy import Proxy
from chaos.servers import Postgres, running_postgres
from chaos.training import Training

from core.settings import ENVIRONMENT_PREFIX

_ON_ITS_WAY_SECONDS = 0.5


@dataclass(frozen=True)
class Unsure:
    """A commit whose answer a worker does not get.

    It is held at ``point`` before; ``kept`` is where the write is found then, and ``said`` what it says of the failure.
    """

    point: str
    kept: str
    said: str
    ends: Sequence[str] = ("succeeded",)


UNSURE = {
    "claim": Unsure(
        *("w.receive_before_claim", "job_attempts WHERE attempt = 1", "waiting for what is away"),
        ends=("worker_lost", "succeeded"),
    ),
    "epoch": Unsure("w.epoch_before_progress:2", "epochs WHERE epoch = 2", "trying again"),
    "checkpoint": Unsure("w.ckpt_put_before_row:2", "checkpoints WHERE epoch = 3", "trying again"),
    "end": Unsure("w.final_put_before_commit", "artifacts WHERE attempt = 1", "trying again"),
}


@pytest.fixture(scope="module")
def postgres(require) -> Iterator[Postgres]:
    """Return a PostgreSQL that can be hurt."""
    with running_postgres(require) as server:
        server.create("chaos")
        yield server


@pytest.fixture(scope="module")
def platform(open_platform, postgres: Postgres) -> Iterator[Platform]:
    """Return a platform on it."""
    with open_platform(database_url=postgres.url("chaos")) as running:
        yield running


@pytest.fixture(autouse=True)
def _the_database_is_back(postgres: Postgres) -> Iterator[None]:
    yield
    postgres.thaw()


def _check_refuses(training: Training) -> None:
    """Check that requests of every kind, several at once, are refused soon and in good order."""
    platform, dataset_id = training.platform, training.dataset_id
    began = time.time()
    asked = [
        ("GET", "/jobs", {}),
        ("GET", f"/datasets/{dataset_id}", {}),
        ("POST", "/jobs", {"json": {"dataset_id": dataset_id, "config": training.job}}),
        ("POST", "/datasets", {"sent": b"PK" + b"x" * 1000}),
        ("GET", "/queue", {}),
    ]
    threads = [
        threading.Thread(target=platform.caller.call, args=(method, path), kwargs=more)
        for method, path, more in asked * 3
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answers = [one for one in platform.caller.answers if one.asked_at >= began]
    assert len(answers) == len(threads)
    assert {one.status for one in answers} == {503}
    assert all(one.retry_after for one in answers)
    assert platform.caller.slowest(since=began) < ANSWER_SECONDS


@pytest.mark.parametrize(
    "seconds", [0.0, pytest.param(LEASE_SECONDS + 3, marks=pytest.mark.long)], ids=["at once", "after the lease"]
)
def test_a_database_that_was_killed_costs_no_result(platform, postgres, training, seconds) -> None:
    platform.start_worker()
    job_id = training.begin()
    postgres.kill()
    _check_refuses(training)
    time.sleep(seconds)
    postgres.start()
    training.check(job_id)


def test_a_database_that_hangs_is_refused_soon_and_taken_up_again(platform, postgres, training) -> None:
    platform.start_worker()
    job_id = training.begin()
    postgres.freeze()
    _check_refuses(training)
    _check_refuses(training)
    postgres.thaw()
    training.check(job_id)


@pytest.mark.parametrize(
    "point",
    [
        pytest.param("w.claim_before_beat", marks=pytest.mark.long),
        "w.epoch_before_progress",
        pytest.param("w.final_put_before_commit", marks=pytest.mark.long),
    ],
)
def test_a_database_that_is_killed_at_a_point_of_a_job_costs_no_result(platform, postgres, training, point) -> None:
    worker = platform.start_worker(hold_at=point)
    job_id = training.submit()
    until(lambda: worker.reached, f"{point} is reached")
    postgres.kill()
    worker.release()
    time.sleep(0.5)
    postgres.start()
    training.check(job_id)


@pytest.mark.parametrize("point", [pytest.param("claim", marks=pytest.mark.long), "epoch", "checkpoint", "end"])
def test_a_commit_whose_answer_is_lost_counts_once(platform, postgres, training, point) -> None:
    """The worker cannot know whether it was kept, and tries again: what it does then must come to the same."""
    unsure = UNSURE[point]
    with Proxy(postgres.socket) as proxy:
        settings = {"DATABASE_URL": postgres.url("chaos", port=proxy.port), "POLL_SECONDS": "3600"}
        inside = ["env", *(f"{ENVIRONMENT_PREFIX}{name}={value}" for name, value in settings.items())]
        worker = platform.start_worker(hold_at=unsure.point, inside=inside)
        job_id = training.submit()
        until(lambda: worker.reached, f"{unsure.point} is reached")
        assert unsure.said not in worker.log.read_text()
        proxy.ail(alter=_lose_commits)
        worker.release()
        is_kept = f"SELECT 1 FROM {unsure.kept} AND job_id = '{job_id}'"
        until(lambda: postgres.query(is_kept, database="chaos"), "the commit")
        time.sleep(_ON_ITS_WAY_SECONDS)
        proxy.heal()
        assert unsure.said in worker.log.read_text()
        training.check(job_id, ends=unsure.ends)
        assert worker.lives


def _lose_commits(piece: bytes) -> bytes:
    """Break the link that says that a transaction is committed, instead of its saying so."""
    if b"COMMIT\0" in piece:
        raise ConnectionResetError
    return piece


def test_sessions_that_are_ended_every_second_cost_no_result(platform, postgres, training) -> None:
    platform.start_worker()
    job_id = training.submit()
    ended = threading.Event()
    killing = threading.Thread(target=_end_sessions, args=(postgres, ended))
    killing.start()
    began = time.time()
    with contextlib.suppress(AssertionError):
        platform.caller.wait(job_id, seconds=20)
    ended.set()
    killing.join()
    assert platform.caller.slowest(since=began) < ANSWER_SECONDS
    training.check(job_id)


def _end_sessions(postgres: Postgres, ended: threading.Event) -> None:
    statement = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'chaos'"
    while not ended.wait(1):
        postgres.query(statement)


def test_a_holder_of_rows_keeps_no_request_waiting(platform, postgres, training) -> None:
    platform.start_worker()
    job_id = training.begin()
    began = time.time()
    with psycopg.connect(f"host={postgres.folder} user=postgres dbname=chaos") as holder:
        holder.execute("SELECT * FROM jobs FOR UPDATE")
        holder.execute("SELECT * FROM api_keys FOR UPDATE")
        assert platform.caller.call("POST", f"/jobs/{job_id}/stop", json={}).status == 503
        assert platform.caller.call("GET", f"/jobs/{job_id}").status == 200
        assert platform.caller.slowest(since=began) < ANSWER_SECONDS
    training.check(job_id)


@pytest.mark.long
def test_a_database_without_room_for_sessions_is_refused_and_taken_up_again(platform, postgres, training) -> None:
    platform.start_worker()
    job_id = training.begin()
    began = time.time()
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                stack.enter_context(psycopg.connect(f"host={postgres.folder} user=postgres dbname=chaos"))
        threads = [threading.Thread(target=platform.caller.call, args=("GET", "/jobs")) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {one.status for one in platform.caller.answers if one.asked_at >= began} <= {200, 503}
    assert platform.caller.slowest(since=began) < ANSWER_SECONDS
    # The worker's heartbeats had a connection of their own: nobody took the job away from it.
    assert platform.caller.wait(job_id)["status"] == "succeeded"
    assert platform.caller.ends(job_id) == ["succeeded"]
    training.check(job_id)


@pytest.mark.long
def test_everything_starts_without_the_database_and_finds_it_when_it_comes(platform, postgres, training) -> None:
    for process in (platform.api, platform.beat, platform.ingest):
        process.kill(below=True)
    postgres.kill()
    platform.api, platform.beat, platform.ingest = platform.start_api(), platform.start_beat(), platform.start_ingest()
    worker = platform.start_worker()
    until(lambda: "waiting for what is away" in worker.log.read_text(), "the worker says what it waits for")
    until(lambda: "waiting for what is not there yet" in platform.api.log.read_text(), "the API says so too")
    _check_refuses(training)
    postgres.start()
    platform.await_api()
    training.check(training.submit())
    assert worker.lives


def test_a_database_that_is_set_back_loses_only_what_has_happened_since(platform, postgres, training) -> None:
    """As after the loss of a server whose standby had not the last seconds: what no row says has not happened."""
    platform.start_worker()
    job_id = training.begin()
    postgres.kill()
    postgres.keep_copy()
    postgres.start()
    # More of them may have come at once, those that were trained while the database was away.
    until(lambda: len(platform.caller.epochs(job_id)) >= training.job["epochs"] - 1, "the last epoch but one")
    postgres.kill()
    postgres.restore_copy()
    postgres.start()
    assert len(platform.caller.epochs(job_id)) < training.job["epochs"] - 1
    training.check(job_id)
    assert set(platform.caller.ends(job_id)[:-1]) <= {"worker_lost"}
