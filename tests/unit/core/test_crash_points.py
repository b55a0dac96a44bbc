import ast
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from core.crash_points import POINTS, reach, read_crash

ROOT = Path(__file__).parents[3]
PROGRAMS = ("api", "core", "worker")


def _placed() -> list[str]:
    """Return the name in every call of ``reach`` in the programs."""
    return [
        node.args[0].value
        for package in PROGRAMS
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "reach"
        and isinstance(node.args[0], ast.Constant)
    ]


def _run(program: str, **environment: str) -> int:
    code = f"from core.crash_points import reach\n{program}"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=False).returncode


def test_every_point_of_the_catalogue_stands_once_in_the_code():
    assert Counter(_placed()) == Counter(POINTS)


def test_a_point_does_nothing_where_nobody_asks_for_a_crash():
    assert read_crash({}) is None
    reach("w.epoch_mid")


def test_a_process_kills_itself_at_the_point_that_is_named():
    assert _run("reach('w.epoch_mid')", CRASH_AT="w.epoch_mid") == -signal.SIGKILL


def test_other_points_do_nothing():
    assert _run("reach('w.download_mid')", CRASH_AT="w.epoch_mid") == 0


@pytest.mark.parametrize(("times", "code"), [(2, 0), (3, -signal.SIGKILL)])
def test_a_process_kills_itself_at_the_nth_time_only(times, code):
    assert _run(f"for _ in range({times}): reach('w.epoch_mid')", CRASH_AT="w.epoch_mid:3") == code


def test_with_a_fuse_only_the_first_process_crashes(tmp_path):
    asked = {"CRASH_AT": "w.epoch_mid", "CRASH_FUSE": str(tmp_path / "fuse")}
    assert [_run("reach('w.epoch_mid')", **asked) for _ in range(2)] == [-signal.SIGKILL, 0]


@pytest.mark.parametrize("wanted", ["w.no_such_point", "w.epoch_mid:0", "w.epoch_mid:x", "w.epoch_mid:-1"])
def test_a_crash_that_could_never_come_is_refused(wanted):
    with pytest.raises(ValueError, match="CRASH_AT"):
        read_crash({"CRASH_AT": wanted})


def test_a_thread_can_be_held_at_a_point_until_the_fuse_is_deleted(tmp_path):
    code = "from core.crash_points import reach\nreach('w.epoch_mid')"
    fuse = tmp_path / "fuse"
    asked = {"CRASH_AT": "w.epoch_mid", "CRASH_HOLD": "1", "CRASH_FUSE": str(fuse)}
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=asked) as process:
        deadline = time.monotonic() + 30
        while not fuse.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert process.poll() is None
        fuse.unlink()
        assert process.wait(30) == 0
