"""How many connections an API process takes, by how many files it may have open."""

import resource

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
