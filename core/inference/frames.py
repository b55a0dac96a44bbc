"""What an API process and its decoders say to each other over a socket.

A request is its head and the image files, each after its length. What a decoder says is JSON after its length: once
that it is ready, with each measure that could not be taken and why; and for each request which images it refuses,
``{index: {"code": …, "detail": …}}``. Behind that stand the pixels of all of them, zeros for the refused.
"""

import struct
from collections.abc import Callable
from typing import Final, NamedTuple

from core.domain.datasets import ColorMode

REQUEST_HEAD: Final = struct.Struct(">HIBQd")
LENGTH: Final = struct.Struct(">I")
CHANNELS: Final[dict[int, ColorMode]] = {1: "grayscale", 3: "rgb"}


class Request(NamedTuple):
    """The head of what a decoder is asked.

    Attributes:
        files: How many there are.
        image_size: Side of the square that is wanted, in pixels.
        channels: 1 for gray, 3 for colours.
        max_pixels: Most pixels of a stored image.
        cpu_seconds: How long it may compute for all of them.
    """

    files: int
    image_size: int
    channels: int
    max_pixels: int
    cpu_seconds: float

    @property
    def pixel_bytes(self) -> int:
        """Return how many bytes the pixels of one image take."""
        return self.image_size**2 * self.channels


def read_exactly(receive: Callable[[int], bytes | memoryview], count: int) -> bytes:
    """Return so many bytes of a stream, of which ``receive`` gives some at a time.

    Raises:
        EOFError: It ended before.
    """
    pieces = bytearray()
    while len(pieces) < count:
        piece = receive(min(count - len(pieces), 1 << 20))
        if not piece:
            raise EOFError
        pieces += piece
    return bytes(pieces)
