"""Platforms to be hurt, and a data set so small that a training is over in seconds."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from chaos.platform import Platform
from chaos.squares import JOB, write_squares
from chaos.training import Training

from core.crash_points import POINTS

OpenPlatform = Callable[..., AbstractContextManager[Platform]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start a platform: they are the fault suite proper.

    A test that meets every crash point on both databases takes turns in the short suite: each point on one of them. The
    long one has all.
    """
    for item in items:
        if "open_platform" not in getattr(item, "fixturenames", ()):
            continue
        item.add_marker(pytest.mark.chaos)
        item.add_marker(pytest.mark.slow)
        item.add_marker(pytest.mark.timeout(240))
        chosen = item.callspec.params if hasattr(item, "callspec") else {}
        if {"platform", "point"} <= chosen.keys():
            turn = ("sqlite", "postgresql")[POINTS.index(chosen["point"]) % 2]
            if chosen["platform"] != turn:
                item.add_marker(pytest.mark.long)


@pytest.fixture(scope="session")
def job() -> dict[str, Any]:
    """Return the config of a job of about five seconds."""
    return dict(JOB)


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a ZIP of three classes of squares: bright at the top, in the middle or at the bottom."""
    return write_squares(tmp_path_factory.mktemp("archive") / "squares.zip", seed=0)


@pytest.fixture
def other_archive(tmp_path: Path) -> Path:
    """Return a ZIP that no platform has seen."""
    return write_squares(tmp_path / "others.zip", seed=secrets.randbits(32))


@pytest.fixture(scope="session")
def open_platform(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> OpenPlatform:
    """Return the context manager that runs a platform on ``sqlite``, ``postgresql`` or the ``database_url`` given."""

    @contextmanager
    def opened(database: str = "sqlite", **options: Any) -> Iterator[Platform]:
        folder = tmp_path_factory.mktemp("platform")
        if "database_url" in options:
            with Platform(folder, **options) as platform:
                yield platform
            return
        if database == "sqlite":
            with Platform(folder, database_url=f"sqlite:///{folder}/lenet.db", **options) as platform:
                yield platform
            return
        fresh_database = request.getfixturevalue("fresh_database")
        with fresh_database() as url, Platform(folder, database_url=url, **options) as platform:
            yield platform

    return opened


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def platform(open_platform: OpenPlatform, request: pytest.FixtureRequest) -> Iterator[Platform]:
    """Return a platform that the tests of a module share, on each database."""
    with open_platform(request.param) as running:
        yield running


@pytest.fixture(scope="module")
def dataset_id(platform: Platform, archive: Path) -> str:
    """Return the small dataset on the module's platform."""
    return platform.caller.upload(archive)


@pytest.fixture(autouse=True)
def _no_worker_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """End the workers that a test has started, so that the next one's job goes to its own."""
    yield
    if "platform" in request.fixturenames:
        request.getfixturevalue("platform").stop_workers()


@pytest.fixture(scope="session")
def _undisturbed() -> dict[str, str]:
    """Return where the session keeps the hash of each undisturbed training's weights."""
    return {}


@pytest.fixture
def weights(_undisturbed: dict[str, str], platform: Platform, dataset_id: str, job: dict[str, Any]) -> str:
    """Return the hash of the weights that `job` ends with where nothing disturbs it."""
    name = repr(job)
    if name not in _undisturbed:
        worker = platform.start_worker()
        job_id = platform.caller.submit(dataset_id, job)
        assert platform.caller.wait(job_id)["status"] == "succeeded", platform.logs()
        assert platform.caller.ends(job_id) == ["succeeded"]
        _undisturbed[name] = platform.caller.weights(job_id)
        worker.kill()
    return _undisturbed[name]


@pytest.fixture
def training(platform: Platform, dataset_id: str, job: dict[str, Any], weights: str) -> Training:
    """Return `job` as one that a test hurts and checks."""
    return Training(platform, dataset_id, job, weights)
