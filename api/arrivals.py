"""Requests on their way in: how much of one must be there before a thread is given to it."""

import re

from api.pacing import Patience

MOST_HEAD_BYTES = 2**15
"""A request's line and headers together."""

GATHERED_BYTES = 2**16
"""A body up to this length is waited for whole; of a longer one, this much."""

_HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*(?=\r\n)")
_OPEN_ENDED = (b"\r\ncontent-length", b"\r\ntransfer-encoding", b"\r\nexpect")


class Arrival:
    """One request as far as it has come. It only looks for where things end; the server's parser judges them.

    Args:
        patience: How slow the client may be.
        deadline: When the first byte must be there, by the monotonic clock.
        most_body_bytes: What no body is longer than, whatever is asked for.

    Attributes:
        received: The bytes so far, and maybe the beginning of the next request.
        deadline: When the client is cut off unless more has come.
        has_head: Whether the line and all headers are there.
        is_ready: Whether a thread may take it.
        is_too_long: Whether its head has no end within what is allowed.
        is_too_large: Whether its body is announced as longer than any may be.
        has_long_body: Whether the thread will have to wait for more of the body.
    """

    def __init__(self, patience: Patience, *, deadline: float, most_body_bytes: int) -> None:
        self.received = bytearray()
        self.deadline = deadline
        self.has_head = False
        self.is_ready = False
        self.is_too_long = False
        self.is_too_large = False
        self.has_long_body = False
        self._patience = patience
        self._most_body_bytes = most_body_bytes
        self._counted_bytes = 0
        self._wanted_bytes = 0

    def feed(self, piece: bytes, *, now: float) -> None:
        """Take the next bytes; an empty piece means that the client sends no more."""
        searched = max(0, len(self.received) - len(_HEAD_END) + 1)
        if not self.received:
            self.deadline = now + self._patience.seconds
        self.received += piece
        if len(self.received) - self._counted_bytes >= self._patience.portion_bytes:
            self.deadline, self._counted_bytes = now + self._patience.seconds, len(self.received)
        if not self.has_head:
            self._look_for_head(searched)
        self.is_ready = self.has_head and (not piece or len(self.received) >= self._wanted_bytes)

    def _look_for_head(self, searched: int) -> None:
        end = self.received.find(_HEAD_END, searched)
        if end >= 0:
            self.has_head = True
            self._plan_body(bytes(self.received[:end]).lower() + b"\r\n", end + len(_HEAD_END))
        elif self.received.count(b"\n") != self.received.count(b"\r\n"):
            self.has_head = True  # An end that never comes need not be waited for: the parser refuses bare line feeds.
        self.is_too_long = (end if end >= 0 else len(self.received)) > MOST_HEAD_BYTES

    def _plan_body(self, head: bytes, body_start: int) -> None:
        lengths = _LENGTH.findall(head)
        if len(lengths) == 1 and not any(name in head for name in _OPEN_ENDED[1:]):
            length = int(lengths[0])
            self._wanted_bytes = body_start + min(length, GATHERED_BYTES)
            self.has_long_body = length > GATHERED_BYTES
            self.is_too_large = length > self._most_body_bytes
        else:
            # What has no length, or none that is clear, or waits for a word from us before it sends.
            self.has_long_body = any(name in head for name in _OPEN_ENDED)
