import hashlib
import io

import pytest

from core.errors import TooLargeError, UnreadableError
from core.storage.bodies import MeteredBody
from core.storage.s3 import PART_BYTES, _part_bytes


class Dripping(io.RawIOBase):
    """Gives seven bytes at a time, however many are asked for, and may be read at its end once only."""

    def __init__(self, content):
        self.content = content
        self.ended = False

    def read(self, size=-1):
        assert not self.ended
        piece, self.content = self.content[: min(7, size)], self.content[7:]
        self.ended = not piece
        return piece


def test_a_read_is_filled_although_the_source_drips():
    body = MeteredBody(Dripping(bytes(range(100))))
    assert [len(body.read(49)) for _ in range(4)] == [49, 49, 2, 0]


def test_a_body_read_whole_is_counted_and_hashed():
    body = MeteredBody(Dripping(b"0123456789"))
    assert body.read() == b"0123456789"
    stored = body.stored_as("a/b")
    assert (stored.key, stored.size_bytes, stored.sha256) == ("a/b", 10, hashlib.sha256(b"0123456789").hexdigest())


def test_a_cut_is_noticed_only_at_the_end():
    body = MeteredBody(io.BytesIO(b"12345"), size_bytes=6)
    assert body.read(5) == b"12345"
    with pytest.raises(UnreadableError, match="after 5 of 6 bytes") as caught:
        body.read(5)
    assert body.failure is caught.value


def test_a_body_of_the_length_that_was_announced_has_no_failure():
    body = MeteredBody(io.BytesIO(b"12345"), size_bytes=5, max_bytes=5)
    assert body.read() == b"12345"
    assert body.failure is None


def test_a_body_over_its_limit_is_not_read_further():
    source = io.BytesIO(b"x" * 3 * 2**20)
    with pytest.raises(TooLargeError):
        MeteredBody(source, max_bytes=10).read()
    assert source.tell() <= 2**20


@pytest.mark.parametrize("size_bytes", [0, 1, 10 * 2**30, 10**12])
def test_an_upload_has_no_more_parts_than_s3_takes(size_bytes):
    part_bytes = _part_bytes(size_bytes)
    assert part_bytes >= PART_BYTES
    assert part_bytes * 10_000 >= size_bytes
