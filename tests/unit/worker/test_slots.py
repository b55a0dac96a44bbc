import threading
import time

from worker.slots import Slots


def test_a_slot_works_until_nothing_waits() -> None:
    waiting = [1, 2, 3]

    def run_next(_: Slots) -> bool:
        return bool(waiting and waiting.pop())

    Slots(1, run_next).fill()
    assert waiting == []


def test_a_wake_up_that_finds_no_free_slot_returns_at_once() -> None:
    entered, leave = threading.Event(), threading.Event()
    calls = []

    def run_next(_: Slots) -> bool:
        calls.append(threading.get_ident())
        entered.set()
        leave.wait(5)
        return False

    slots = Slots(1, run_next)
    thread = threading.Thread(target=slots.fill)
    thread.start()
    assert entered.wait(5)
    slots.fill()
    assert len(calls) == 1
    leave.set()
    thread.join()
    slots.fill()
    assert len(calls) == 2


def test_a_slot_is_free_again_after_an_error() -> None:
    def run_next(_: Slots) -> bool:
        raise OSError

    slots = Slots(1, run_next)
    for _ in range(2):
        try:
            slots.fill()
        except OSError:
            continue
        raise AssertionError("the error was swallowed, or the slot was not free")


def test_closing_slots_take_nothing_new() -> None:
    slots = Slots(1, lambda _: True)
    slots.closing.set()
    slots.fill()


def test_busy_names_what_is_being_done() -> None:
    slots = Slots(2, lambda _: False)
    slots.enter("job_b")
    slots.enter("job_a")
    slots.leave("job_b")
    assert slots.busy() == ["job_a"]


def test_settling_waits_for_what_goes_on_in_a_slot_and_not_for_ever() -> None:
    entered, leave = threading.Event(), threading.Event()

    def run_next(_: Slots) -> bool:
        entered.set()
        leave.wait(5)
        return False

    slots = Slots(2, run_next)
    thread = threading.Thread(target=slots.fill)
    thread.start()
    assert entered.wait(5)
    assert not slots.settle(0.05)
    leave.set()
    assert slots.settle(5)
    thread.join()
    slots.fill()  # Each slot is free again.


def test_a_slot_rests_after_what_broke_and_longer_each_time_in_a_row(monkeypatch) -> None:
    slots, rests = Slots(1, lambda _: False), []
    monkeypatch.setattr(slots.closing, "wait", rests.append)
    for _ in range(5):
        slots.rest(broke=True)
    slots.rest(broke=False)
    slots.rest(broke=True)
    assert rests == [1, 2, 4, 5, 5, 1]


def test_a_slot_that_is_closed_rests_no_longer() -> None:
    slots = Slots(1, lambda _: False)
    slots.closing.set()
    began = time.monotonic()
    slots.rest(broke=True)
    assert time.monotonic() - began < 0.9
