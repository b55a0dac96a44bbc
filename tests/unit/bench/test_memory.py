import subprocess
import sys
import threading

import psutil
import pytest

from bench.memory import PeakWatch, add_up, anonymous_bytes, resident_bytes, with_descendants


def test_a_watch_keeps_the_most_that_it_has_read():
    values, seen = iter([1.0, 5.0, 2.0]), threading.Event()

    def read() -> float:
        value = next(values, 0.0)
        if value == 2.0:
            seen.set()
        return value

    watch = PeakWatch(read, every_seconds=0.001)
    with watch.running():
        assert seen.wait(10)

    assert watch.peak == 5.0


def test_a_watch_reads_even_what_is_over_at_once():
    watch = PeakWatch(lambda: 3.0, every_seconds=60)
    with watch.running():
        pass

    assert watch.peak == 3.0


def test_a_watch_that_cannot_read_says_so():
    def fail() -> float:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"), PeakWatch(fail, every_seconds=60).running():
        pass


@pytest.fixture
def child():
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as process:
        yield psutil.Process(process.pid)
        process.communicate(b"")


def test_a_process_that_has_ended_holds_nothing(child):
    child.terminate()
    child.wait()
    own = psutil.Process()

    assert add_up([child], resident_bytes) == 0
    assert add_up([child, own], lambda process: process.pid) == own.pid + child.pid
    assert add_up([own], resident_bytes) > 0


def test_a_process_counts_with_all_that_it_has_started(child):
    own = psutil.Process()

    assert {own, child} <= set(with_descendants([own]))


def test_pages_of_a_mapped_file_are_not_anonymous(tmp_path):
    import mmap

    size = 32 * 2**20
    (tmp_path / "pack").write_bytes(b"x" * size)
    own = psutil.Process()
    anonymous, resident = anonymous_bytes(own), resident_bytes(own)
    with (tmp_path / "pack").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        touched = sum(mapped[place] for place in range(0, size, 4096))
        more_anonymous, more_resident = anonymous_bytes(own) - anonymous, resident_bytes(own) - resident

    assert touched
    assert more_resident > 0.9 * size
    assert more_anonymous < 0.1 * size
