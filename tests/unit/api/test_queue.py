import threading

import pytest

from api.queue import Outbox
from core.errors import UnavailableError
from core.services.messages import WakeUp


class Sender:
    def __init__(self, *failures):
        self.failures = list(failures)
        self.sent = []

    def send(self, message):
        if self.failures and (failure := self.failures.pop(0)):
            raise failure
        self.sent.append(message.resource_id)

    def depth(self, queue):
        return 0


def make(*names):
    return [WakeUp("lenet.train", "cpu", name) for name in names]


def test_messages_are_sent_in_order():
    sender = Sender()
    outbox = Outbox(sender)
    outbox.post(make("a", "b"))
    outbox.post(make("c"))
    outbox.settle()
    assert sender.sent == ["a", "b", "c"]


@pytest.mark.parametrize("failure", [UnavailableError("Redis does not answer."), RuntimeError("a defect")])
def test_a_message_that_cannot_be_sent_does_not_stop_those_after_it(failure):
    sender = Sender(failure)
    outbox = Outbox(sender)
    outbox.post(make("a", "b"))
    outbox.settle()
    assert sender.sent == ["b"]


def test_posting_never_waits_for_a_queue_that_hangs(monkeypatch):
    monkeypatch.setattr("api.queue._MOST_WAITING", 3)
    release = threading.Event()

    class Hanging(Sender):
        def send(self, message):
            release.wait(10)
            super().send(message)

    sender = Hanging()
    outbox = Outbox(sender)
    outbox.post(make(*(str(number) for number in range(100))))
    release.set()
    outbox.settle()
    assert 3 <= len(sender.sent) <= 5


def test_nothing_runs_before_the_first_message():
    before = threading.active_count()
    Outbox(Sender())
    assert threading.active_count() == before
