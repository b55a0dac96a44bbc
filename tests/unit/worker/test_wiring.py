import os
import subprocess
import sys

import pytest

from core.errors import InvalidError
from core.settings import Settings
from worker import wiring
from worker.wiring import _claim_scratch, find_device, find_engines, set_threads


def test_what_killed_workers_left_goes_whatever_host_they_were_on(tmp_path):
    """Containers share the folder, and one that is made anew has another host's name."""
    scratch = tmp_path / "cache/scratch"
    (scratch / "another-container-train-1-a1b2/job-x").mkdir(parents=True)
    (scratch / "another-container-train-1-a1b2.lock").touch()
    (scratch / "without-a-lock").mkdir()
    _claim_scratch(Settings(data_dir=tmp_path), "ours")
    assert [path.name for path in scratch.iterdir()] == ["ours.lock"]


def test_what_a_living_worker_has_stays_until_its_process_ends(tmp_path):
    scratch = tmp_path / "cache/scratch"
    script = f"""
from core.settings import Settings
from worker.wiring import _claim_scratch
_claim_scratch(Settings(data_dir={str(tmp_path)!r}), "theirs")
print("claimed", flush=True)
input()
"""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"claimed\n"
        (scratch / "theirs/job-x").mkdir(parents=True)
        _claim_scratch(Settings(data_dir=tmp_path), "ours")
        assert (scratch / "theirs/job-x").exists()
        process.kill()
    _claim_scratch(Settings(data_dir=tmp_path), "next")
    assert not (scratch / "theirs").exists()
    assert (scratch / "ours.lock").exists()


def test_a_worker_with_torch_has_both_engines():
    assert find_engines() == ("torch", "numpy")


@pytest.fixture
def _without_torch(monkeypatch):
    monkeypatch.setattr(wiring, "find_spec", lambda name: None if name == "torch" else pytest.fail(name))


@pytest.mark.usefixtures("_without_torch")
def test_a_worker_without_torch_has_numpy_on_the_processor():
    assert find_engines() == ("numpy",)
    assert find_device(Settings(worker_device="auto"), ("numpy",)) == "cpu"


def test_a_gpu_without_torch_is_refused():
    with pytest.raises(InvalidError, match="torch is not installed"):
        find_device(Settings(worker_device="cuda"), ("numpy",))


@pytest.fixture
def let_torch_say(monkeypatch):
    """Let a driver be there or not, and torch say why it sees no GPU; it may not be asked where it is not expected."""

    def let(*, driver, reason=pytest.fail):
        monkeypatch.setattr(wiring, "find_driver", lambda: driver)
        monkeypatch.setattr(wiring, "why_no_gpu", lambda: reason("torch was asked") if callable(reason) else reason)

    return let


@pytest.mark.parametrize(
    ("wanted", "driver", "reason", "device"),
    [
        ("cpu", True, pytest.fail, "cpu"),
        ("auto", False, pytest.fail, "cpu"),
        ("auto", True, None, "cuda"),
        ("auto", True, "torch sees none", "cpu"),
        ("cuda", True, None, "cuda"),
        ("cuda", False, None, "cuda"),  # A driver may show itself elsewhere: torch has the last word.
    ],
)
def test_a_gpu_is_used_where_it_is_wanted_and_torch_can(let_torch_say, wanted, driver, reason, device):
    let_torch_say(driver=driver, reason=reason)
    assert find_device(Settings(worker_device=wanted), ("torch", "numpy")) == device


def test_a_worker_that_must_have_a_gpu_and_has_none_says_why(let_torch_say):
    let_torch_say(driver=True, reason="the driver is too old")
    with pytest.raises(InvalidError, match="the driver is too old"):
        find_device(Settings(worker_device="cuda"), ("torch", "numpy"))


@pytest.mark.parametrize(("slots", "policy"), [(1, None), (2, "PASSIVE")])
def test_threads_that_share_the_cores_with_another_training_sleep_while_they_wait(monkeypatch, slots, policy):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "7")
    set_threads(Settings(worker_slots=slots, worker_threads=3))
    assert os.environ.get("OMP_WAIT_POLICY") == policy
    assert os.environ["OMP_NUM_THREADS"] == os.environ["OPENBLAS_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == "3"
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
