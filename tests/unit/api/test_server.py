"""How many connections an API process takes, and what it does with memory that is free."""

import platform
import resource
import subprocess
import sys

import pytest

from api.server import count_connections


@pytest.mark.parametrize(
    ("files", "threads", "connections"),
    [
        (resource.RLIM_INFINITY, 32, 1000),
        (65536, 32, 1000),
        (1024, 32, 832),
        (256, 8, 160),
        (64, 32, 32),  # Fewer than its threads would leave some without work for ever.
    ],
)
def test_files_are_left_over_for_what_requests_open(files, threads, connections):
    assert count_connections(files, threads=threads) == connections


_GROWTH = """
import os, sys, threading
from api.server import return_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def handle_bodies():
    for mebibytes in (8, 16, 24, 30, 28):
        body = bytearray(mebibytes * 2**20)
        kept = [bytes(100_000) for _ in range(20)]
        del body

if sys.argv[1] == "returning":
    return_memory()
before = resident()
for _ in range(3):
    threads = [threading.Thread(target=handle_bodies) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print((resident() - before) // 2**20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps what is free, and can be told not to")
def test_the_memory_of_large_bodies_goes_back_to_the_system():
    grown = {}
    for way in ("returning", "as it comes"):
        answer = subprocess.run([sys.executable, "-c", _GROWTH, way], capture_output=True, text=True, check=True)
        grown[way] = int(answer.stdout)
    assert grown["returning"] < 25 < grown["as it comes"], grown
