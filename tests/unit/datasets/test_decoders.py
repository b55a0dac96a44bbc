import os
import signal
import threading

import pytest

from core.datasets.decoders import Decoder, Decoders
from core.datasets.process import run_ingest
from core.settings import Settings


@pytest.fixture
def decoders():
    """Return decoders, which are closed with the test."""
    opened = Decoders()
    yield opened
    opened.close()


def pid_of(decoder):
    return decoder._process.pid


def test_the_decoder_that_was_prepared_is_the_one_that_reads(decoders, make_zip, dataset_files, tmp_path, monkeypatch):
    started, taken = [], []
    start = Decoder.__init__
    monkeypatch.setattr(Decoder, "__init__", lambda self: (start(self), started.append(pid_of(self)))[0])
    take = decoders.take
    monkeypatch.setattr(decoders, "take", lambda: taken.append(take()) or taken[-1])
    decoders.prepare()
    decoders.prepare()
    result = run_ingest(make_zip(dataset_files()), tmp_path, settings=Settings(), image_size=8, decoders=decoders)
    assert result.manifest.images.total == 12
    assert [pid_of(decoder) for decoder in taken] == started
    assert not taken[0].lives


def test_one_that_died_waiting_is_replaced(decoders):
    decoders.prepare()
    first = decoders.take()
    decoders.prepare()
    second = pid_of(decoders._next.result())
    os.kill(second, signal.SIGKILL)
    decoders._next.result()._process.wait()
    with first, decoders.take() as third:
        assert third.lives
        assert pid_of(third) not in (pid_of(first), second)


def test_without_one_prepared_a_new_one_is_started_each_time(decoders):
    with decoders.take() as first, decoders.take() as second:
        assert first.lives
        assert second.lives
        assert pid_of(first) != pid_of(second)


def test_one_is_there_again_after_a_start_that_failed(decoders, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr("subprocess.Popen", lambda *_, **__: (_ for _ in ()).throw(OSError("no more processes")))
        decoders.prepare()
        assert isinstance(decoders._next.exception(), OSError)
    with decoders.take() as decoder:
        assert decoder.lives


def test_what_nobody_took_ends_when_they_are_closed():
    decoders = Decoders()
    decoders.prepare()
    waiting = decoders._next.result()
    decoders.close()
    assert not waiting.lives


def test_a_decoder_ends_by_itself_when_nobody_can_ask_it_any_more():
    decoder = Decoder()
    decoder._process.stdin.close()
    assert decoder._process.wait(20) == 0
    assert decoder.end() == ""


def test_it_outlives_the_thread_that_asked_for_it(decoders, make_zip, dataset_files, tmp_path):
    """To the kernel a process's parent is a thread, and with that one's end this process would be killed."""
    thread = threading.Thread(target=decoders.prepare)
    thread.start()
    thread.join()
    decoders._next.result()
    manifest = run_ingest(make_zip(dataset_files()), tmp_path, settings=Settings(), decoders=decoders).manifest
    assert manifest.images.total == 12
