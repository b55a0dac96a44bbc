"""Platforms to be hurt, and a data set so small that a training is over in seconds."""

import os
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from chaos.platform import Platform
from chaos.squares import JOB, write_squares
from chaos.training import Training

OpenPlatform = Callable[..., AbstractContextManager[Platform]]
_DATABASES = ("sqlite", "postgresql")
_MINUTES = os.environ.get("FAULTS_MINUTES", "")
_END = time.monotonic() + 60 * float(_MINUTES or "inf")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start a platform: they are the fault suite proper.

    Those that run on both databases take turns in the short suite: each is there on one of them. The long one has all.
    """
    tests = [item for item in items if "open_platform" in getattr(item, "fixturenames", ())]
    on_both: dict[tuple[str, str, str], dict[str, pytest.Item]] = defaultdict(dict)
    for item in tests:
        item.add_marker(pytest.mark.chaos)
        item.add_marker(pytest.mark.slow)
        item.add_marker(pytest.mark.timeout(240))
        database = item.callspec.params.get("platform") if hasattr(item, "callspec") else None
        if database in _DATABASES and not item.get_closest_marker("long"):
            rest = item.callspec.id.replace(database, "", 1)
            on_both[str(item.path), item.originalname, rest][database] = item
    pairs = [pair for _, pair in sorted(on_both.items()) if len(pair) == len(_DATABASES)]
    for number, pair in enumerate(pairs):
        pair[_DATABASES[number % 2]].add_marker(pytest.mark.long)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Begin no test that hurts a platform once ``FAULTS_MINUTES`` are over: a slow machine leaves some out and says so.

    Which these are changes with the order of the tests, which is drawn.
    """
    if item.get_closest_marker("chaos") and time.monotonic() > _END:
        pytest.skip(f"the {_MINUTES} minutes for faults are over")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the platform's processes logged where a test failed."""
    report = yield
    platform = getattr(item, "funcargs", {}).get("platform")
    if report.failed and isinstance(platform, Platform):
        report.sections.append(("Logs of the platform", platform.logs()))
    return report


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


@pytest.fixture(scope="module", params=_DATABASES)
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
        assert platform.caller.wait(job_id)["status"] == "succeeded"
        assert platform.caller.ends(job_id) == ["succeeded"]
        _undisturbed[name] = platform.caller.weights(job_id)
        worker.kill()
    return _undisturbed[name]


@pytest.fixture
def training(platform: Platform, dataset_id: str, job: dict[str, Any], weights: str) -> Training:
    """Return `job` as one that a test hurts and checks."""
    return Training(platform, dataset_id, job, weights)
