"""What keeps a worker visible and at work while the services behind it come and go."""

import threading
from types import SimpleNamespace

import pytest

from core.errors import UnavailableError
from worker import presence
from worker.presence import Presence
from worker.slots import Slots


@pytest.fixture
def slots():
    slots = Slots(1, lambda _: False)
    yield slots
    slots.closing.set()


@pytest.fixture
def present(slots):
    return Presence(SimpleNamespace(settings=SimpleNamespace(heartbeat_seconds=0.01, poll_seconds=0.01)), slots)


@pytest.mark.parametrize("error", [UnavailableError("The database does not answer."), ValueError("a defect")])
def test_a_failure_ends_neither_reports_nor_polls(present, monkeypatch, error):
    counted = {name: threading.Semaphore(0) for name in ("report", "poll")}

    def fail(name):
        counted[name].release()
        raise error

    present._threads = [
        threading.Thread(target=present._every, args=(0.01, lambda name=name: fail(name)), daemon=True)
        for name in counted
    ]
    present.start()
    present.start()  # It has begun: nothing is done twice.
    for name, count in counted.items():
        for _ in range(3):
            assert count.acquire(timeout=5), name


def test_a_queue_in_trouble_keeps_no_free_slot_from_looking_for_work(present, slots, monkeypatch):
    looked = threading.Event()
    monkeypatch.setattr(slots, "_run_next", lambda _: looked.set())

    def sweep(_):
        raise UnavailableError("Redis does not answer.")

    monkeypatch.setattr(presence, "sweep", sweep)
    with pytest.raises(UnavailableError):
        present.poll()
    assert looked.wait(5)


def test_a_worker_leaves_though_the_database_is_away(present, monkeypatch):
    def forget():
        raise UnavailableError("The database does not answer.")

    monkeypatch.setattr(present, "_forget", forget)
    present.leave()
