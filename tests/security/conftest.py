"""The security suite: attacks on a real platform, each a test that is named after its number.

How to write one
================

::

    def test_a04_another_tenants_job_is_as_if_it_were_not(alice, bob, victim):
        answer = bob.call("GET", f"/jobs/{victim.job_id}")
        assert answer.status_code == 404

- Name it ``test_aNN_…`` by its number in the list of attacks, several tests may share one, and name it in the row of
  `docs/explanation/security.md`.
- ``alice`` (tenant A), ``bob`` (B) and ``nobody`` (no key) are clients (`security.visitors.Visitor`): ``call`` asks for
  a path below ``/api/v1``, ``ask`` for a whole path, ``get`` for JSON that must be there. Each refusal that comes back
  is looked at: problem+json, a request id, nothing of the inside, no 500. ``estate.visitor("bob", "read")`` has a key
  of one scope (``read``, ``train``, ``admin``), ``administrator`` the first key; ``estate.keys`` and ``estate.ids``
  know them all.
- ``victim`` is what tenant A owns: a dataset that is ready and a job that has succeeded.
- ``raw`` sends bytes that no client library sends, and returns every answer; ``together`` of `security.visitors` does
  something many times at the same moment.
- ``leaves(datasets=1, dataset_entries=4, objects=0)`` declares what the attack may leave, at most (``None``: any
  number): rows by table and files of the store. Whatever else is new or gone at its end fails it. A test that makes
  things in order to attack them deletes them again.
- To have a file written elsewhere, put `security.footprint.ESCAPE` into its name: then it is found wherever it ends up.
- ``estate.fortress.another_api(max_request_bytes=100)`` is a second API with other settings on the same database; its
  ``engine``, ``objects``, ``queue`` (Redis) and ``logs()`` are there to look behind the API's back.

What is looked at after every one
=================================
A test that uses the platform (`estate`, or any fixture above) ends with the checks of `security.watch`: ``/healthz`` is
200 within a second, no program died, no undeclared row or object came or went, no file lies outside the platform's
folder, the API's memory is within 50 MiB of what it was when the suite began, and the third tenant's job goes on in its
first attempt. Tests that need no platform (a reader of archives called directly) are as quick as unit tests, and skip
all that.

The platform is started once in a process of tests, which takes some seconds; nobody may stop it or use up its tenants.
A test whose attack needs another platform starts a `security.estate.Fortress` of its own.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import pytest
from chaos.squares import write_squares
from security.estate import MEBIBYTE, Estate, Fortress, Victim
from security.visitors import RawAnswer, Visitor, exchange
from security.watch import Watch

_ESTATE = pytest.StashKey[Estate]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the attacks; those on the platform may have to wait for its start."""
    for item in items:
        if Path(__file__).parent not in item.path.parents:
            continue
        item.add_marker(pytest.mark.security)
        if "estate" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(300))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what the API's memory did."""
    estate = config.stash.get(_ESTATE, None)
    if estate is not None:
        first, most = (held / MEBIBYTE for held in (estate.memory_bytes, estate.most_memory_bytes))
        terminalreporter.write_line(f"API memory: {first:.0f} MiB before the attacks, {most:.0f} MiB at most after one")


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a ZIP of three classes of squares."""
    return write_squares(tmp_path_factory.mktemp("archive") / "squares.zip", seed=0)


@pytest.fixture(scope="session")
def estate(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, squares: Path) -> Iterator[Estate]:
    """Return the platform that is attacked, and everybody on it."""
    with Fortress(tmp_path_factory.mktemp("outer")) as fortress:
        estate = Estate(fortress, squares)
        request.config.stash[_ESTATE] = estate
        yield estate
        estate.close()
        fortress.stop_workers()


@pytest.fixture(autouse=True)
def watch(request: pytest.FixtureRequest) -> Iterator[Watch | None]:
    """Check after each attack that nobody was harmed; ``None`` where a test does not use the platform."""
    if "estate" not in request.fixturenames:
        yield None
        return
    watching = Watch(request.getfixturevalue("estate"))
    yield watching
    watching.check()


@pytest.fixture
def leaves(watch: Watch, estate: Estate) -> Callable[..., None]:
    """Return the function that declares what an attack may leave: most new rows by table, and ``objects``."""
    return watch.allowed.update


@pytest.fixture
def alice(estate: Estate) -> Visitor:
    """Return tenant A, who owns `victim`, with a key that may train."""
    return estate.visitor("alice")


@pytest.fixture
def bob(estate: Estate) -> Visitor:
    """Return tenant B, who owns nothing, with a key that may train."""
    return estate.visitor("bob")


@pytest.fixture
def administrator(estate: Estate) -> Visitor:
    """Return the first administrator."""
    return estate.first


@pytest.fixture
def nobody(estate: Estate) -> Visitor:
    """Return a client without a key."""
    return estate.nobody


@pytest.fixture
def victim(estate: Estate) -> Victim:
    """Return what tenant A owns."""
    return estate.victim


@pytest.fixture
def raw(estate: Estate) -> Callable[[bytes | Iterable[bytes]], list[RawAnswer]]:
    """Return the function that sends bytes to the API as they are; see `security.visitors.exchange`."""
    return partial(exchange, estate.fortress.root)
