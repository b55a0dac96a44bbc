import faulthandler
import os
import signal
import time

import pytest

from core.datasets.pool import DecoderPool

# From Python 3.12 on a fork beside threads warns; those of NumPy's library are idle here.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


def split(task):
    return [[item] for item in task] if len(task) > 1 else []


def run(work, tasks, *, processes=2, stall_seconds=5.0):
    with DecoderPool(work, split, processes=processes, stall_seconds=stall_seconds) as pool:
        return sorted(pool.map(tasks))


def double(task, beat):
    beat()
    return [2 * number for number in task]


def test_every_task_gets_its_answer():
    tasks = [[n, n + 1] for n in range(0, 40, 2)]
    assert run(double, tasks) == [(task, [2 * n for n in task]) for task in tasks]


def test_answers_larger_than_a_pipe_do_not_block():
    def inflate(task, beat):
        return bytes(3_000_000)

    assert [len(answer) for _, answer in run(inflate, [[n] for n in range(6)])] == [3_000_000] * 6


@pytest.mark.parametrize("death", [signal.SIGSEGV, signal.SIGKILL, None])
def test_a_task_that_kills_its_process_costs_that_item_alone(death):
    # A55
    def work(task, beat):
        if 5 in task:
            if death is None:
                os._exit(3)
            faulthandler.disable()  # pytest's would print where it crashes
            os.kill(os.getpid(), death)
        return double(task, beat)

    answers = {tuple(task): answer for task, answer in run(work, [[1, 2, 3], [4, 5, 6], [7, 8, 9]])}
    assert answers[5,] is None
    assert sum(len(answer) for answer in answers.values() if answer) == 8


def test_an_exception_ends_the_process_like_a_crash(capfd):
    def work(task, beat):
        raise ValueError("a defect")

    assert run(work, [[1]]) == [([1], None)]
    assert "a defect" in capfd.readouterr().err


def test_a_full_disk_ends_the_run_instead_of_blaming_images():
    def work(task, beat):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        run(work, [[1, 2]])


def test_a_process_that_hangs_is_killed_and_its_other_items_are_done():
    # A51
    def work(task, beat):
        for number in task:
            while number == 2:
                time.sleep(0.01)
        return double(task, beat)

    start = time.monotonic()
    answers = run(work, [[1, 2, 3]], processes=1, stall_seconds=0.2)
    assert answers == [([1], [2]), ([2], None), ([3], [6])]
    assert time.monotonic() - start < 5


def test_slow_work_that_shows_life_is_not_killed(monkeypatch):
    monkeypatch.setattr("core.datasets.pool._BEAT_SECONDS", 0.05)

    def work(task, beat):
        for _ in range(10):
            time.sleep(0.06)
            beat()
        return double(task, beat)

    assert run(work, [[1]], stall_seconds=0.3) == [([1], [2])]


def test_no_process_is_left(tmp_path):
    def work(task, beat):
        (tmp_path / str(os.getpid())).touch()
        return task

    pool = DecoderPool(work, split, processes=2, stall_seconds=5.0)
    with pool:
        next(pool.map([[n] for n in range(50)]))
    for path in tmp_path.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.name), 0)
