import ctypes
import platform
import subprocess
import sys

import pytest

from core.training.memory import keep_memory

STEPS = """
import resource, sys
from core.training.memory import keep_memory
import numpy as np
if sys.argv[1] == "keep":
    keep_memory()
def step():
    return [np.ones(300_000 + size) for size in range(8)]
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps memory by rules of its own")
def test_a_step_finds_the_memory_of_the_step_before():
    def count_faults(kind):
        answer = subprocess.run([sys.executable, "-c", STEPS, kind], capture_output=True, text=True, check=True)
        return int(answer.stdout)

    assert count_faults("keep") < 200
    assert count_faults("give back") > 4000


def test_a_c_library_without_the_option_is_no_error(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert not keep_memory()
