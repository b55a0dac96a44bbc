import os
import subprocess
import sys

import pytest

from embedded.errors import StartError
from embedded.lock import LOCK_NAME, hold_directory


def test_the_directory_is_made_and_says_who_holds_it(tmp_path):
    with hold_directory(tmp_path / "new" / "data"):
        assert (tmp_path / "new" / "data" / LOCK_NAME).read_text() == f"{os.getpid()}\n"


def test_a_second_start_is_refused_and_told_who_holds_the_directory(tmp_path):
    words = f"in use by another start .process {os.getpid()}."
    with hold_directory(tmp_path), pytest.raises(StartError, match=words), hold_directory(tmp_path):
        pass


def test_the_directory_is_free_again_after_the_first_start(tmp_path):
    with hold_directory(tmp_path):
        pass
    with hold_directory(tmp_path):
        pass


def test_a_holder_that_was_killed_leaves_the_directory_free(tmp_path):
    script = (
        "import os, signal, sys, pathlib; from embedded.lock import hold_directory\n"
        "with hold_directory(pathlib.Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", script, tmp_path], check=False)
    assert killed.returncode == -9
    with hold_directory(tmp_path):
        pass


def test_a_process_that_inherits_the_lock_holds_the_directory_for_a_killed_start(tmp_path):
    with hold_directory(tmp_path) as lock:
        heir = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(lock,))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / LOCK_NAME).write_text(f"{ended.pid}\n")
    with (
        pytest.raises(StartError, match=f"process {ended.pid}, which was killed; .* try again"),
        hold_directory(tmp_path),
    ):
        pass
    heir.communicate(b"\n")
    with hold_directory(tmp_path):
        pass


@pytest.mark.parametrize("place", ["file/data", "file"])
def test_a_directory_that_cannot_be_made_is_named(tmp_path, place):
    (tmp_path / "file").write_text("in the way")
    words = f"{place} cannot be written to .*LENET_DATA_DIR"
    with pytest.raises(StartError, match=words), hold_directory(tmp_path / place):
        pass


def test_a_lock_without_a_number_still_refuses(tmp_path):
    with hold_directory(tmp_path):
        (tmp_path / LOCK_NAME).write_text("")
        with pytest.raises(StartError, match="process unknown"), hold_directory(tmp_path):
            pass
