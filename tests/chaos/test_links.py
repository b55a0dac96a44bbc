"""F31, F32: one link of a worker cut, in silence or with a reset, and what is behind it started anew meanwhile."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
from chaos.platform import LEASE_SECONDS, Platform
from chaos.processes import until
from chaos.proxy import Proxy
from chaos.servers import Postgres, Store, running_postgres, running_store

from core.settings import ENVIRONMENT_PREFIX

# So slow a training outlasts its lease by far: from its second epoch on it takes ten seconds.
_SLOW_STEP = "CHAOS_STEP_SECONDS=0.3"
_STALE = "dropping stale connection"  # kombu's words
_CUTS: dict[str, dict[str, Any]] = {"in silence": {"hole": True}, "reset": {"down": True}}


@pytest.fixture(scope="module")
def postgres(require) -> Iterator[Postgres]:
    """Return a PostgreSQL that can be started anew."""
    with running_postgres(require) as server:
        server.create("chaos")
        yield server


@pytest.fixture(scope="module")
def store(require, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Return an S3 server."""
    with running_store(require, tmp_path_factory.mktemp("store")) as server:
        yield server


@pytest.fixture(scope="module")
def platform(open_platform, postgres: Postgres, store: Store) -> Iterator[Platform]:
    """Return a platform whose services reach each other directly."""
    with open_platform(database_url=postgres.url("chaos"), store_url=store.url(), settings=Store.SETTINGS) as running:
        yield running


@dataclass(frozen=True)
class Ways:
    """A worker's own ways to the three services; ``inside`` is put before its command so that it goes them."""

    links: dict[str, Proxy]
    inside: list[str]


@pytest.fixture
def ways(platform: Platform, postgres: Postgres, store: Store) -> Iterator[Ways]:
    """Return the ways of a worker that looks for no work by itself."""
    redis = ("127.0.0.1", platform.queue.connection_pool.connection_kwargs["port"])
    targets = {"database": postgres.socket, "redis": redis, "store": ("127.0.0.1", store.port)}
    with ExitStack() as stack:
        links = {name: stack.enter_context(Proxy(target)) for name, target in targets.items()}
        settings = {
            "DATABASE_URL": postgres.url("chaos", port=links["database"].port),
            "REDIS_URL": f"redis://127.0.0.1:{links['redis'].port}/0",
            "STORE_URL": store.url(port=links["store"].port),
            "POLL_SECONDS": "3600",
        }
        yield Ways(links, ["env", *(f"{ENVIRONMENT_PREFIX}{name}={value}" for name, value in settings.items())])


@pytest.mark.parametrize("cut", ["in silence", pytest.param("reset", marks=pytest.mark.long)])
def test_a_worker_without_the_database_stops_and_changes_nothing(platform, training, ways, cut) -> None:
    worker = platform.start_worker(inside=[*ways.inside, _SLOW_STEP])
    job_id = training.begin()
    ways.links["database"].ail(**_CUTS[cut])
    until(lambda: not worker.trainers(), "the trainer is stopped by the worker's own clock", LEASE_SECONDS + 3)
    platform.start_worker()
    training.check(job_id, ends=["worker_lost", "succeeded"])
    ways.links["database"].heal()
    assert worker.lives


@pytest.mark.long
@pytest.mark.parametrize("link", list(product(["redis", "store"], _CUTS)), ids=lambda link: "-".join(map(str, link)))
def test_a_worker_without_the_queue_or_the_store_keeps_its_job(platform, training, ways, link) -> None:
    name, cut = link
    platform.start_worker(inside=[*ways.inside, _SLOW_STEP])
    job_id = training.begin()
    ways.links[name].ail(**_CUTS[cut])
    time.sleep(LEASE_SECONDS + 1)
    ways.links[name].heal()
    training.check(job_id, ends=["succeeded"])


@pytest.mark.parametrize("name", [pytest.param("redis", marks=pytest.mark.long), "database"])
def test_a_link_whose_other_end_was_started_anew_in_the_dark_is_made_anew(
    platform, postgres, training, ways, name
) -> None:
    """The worker finds no work but by messages: that it trains shows that both links are whole again."""
    worker = platform.start_worker(inside=ways.inside, looked=True)
    until(lambda: _listeners(platform) == 2, "the worker listens, as that of ingest does")
    ways.links[name].ail(hole=True)
    if name == "redis":
        platform.redis.kill()
        platform.redis = platform.start_redis()
    else:
        postgres.kill()
        postgres.start()
    time.sleep(1)
    ways.links[name].heal()
    training.check(training.submit(), ends=["succeeded"])
    assert name == "database" or _STALE in worker.log.read_text()
    assert worker.lives


def _listeners(platform: Platform) -> int:
    """Return how many workers wait for messages."""
    return sum(client["cmd"] == "brpop" for client in platform.queue.client_list())
