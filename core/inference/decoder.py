"""The program that decodes the images of predictions: ``python -m core.inference.decoder``.

Whoever starts it (`core.inference.decoders`) gives it a socket as standard input, over which it is sent some images at
a time, and answers. It confines itself before it reads a byte of any.
"""

import argparse
import contextlib
import json
import os
import signal
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

from core.datasets.small_images import read_arrays
from core.errors import InvalidError
from core.inference.frames import CHANNELS, LENGTH, REQUEST_HEAD, Request, read_exactly
from core.sandbox.bounds import Bounds, allow_cpu
from core.sandbox.confinement import Reach, confine

_SOCKET = 0
_OPEN_FILES = 32
_BYTES_READ_AHEAD = 2**16


def main() -> None:
    """Answer until the other end closes."""
    parser = argparse.ArgumentParser(prog="python -m core.inference.decoder", description=__doc__)
    parser.add_argument("--memory-bytes", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    given = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")  # Pillow warns of oddities in files; what matters comes as an error
    bounds = Bounds(memory_bytes=given.memory_bytes, file_bytes=0, open_files=_OPEN_FILES)
    missing = confine(bounds, Reach(), parent=given.parent, may_fork=False)
    with (
        contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError),
        open(_SOCKET, "rb", buffering=_BYTES_READ_AHEAD) as source,
    ):
        _send(_write(missing))
        while True:
            request = Request(*REQUEST_HEAD.unpack(read_exactly(source.read, REQUEST_HEAD.size)))
            allow_cpu(request.cpu_seconds)
            _send(_answer(request, [_read_file(source) for _ in range(request.files)]))


def _read_file(source: BinaryIO) -> bytes:
    (length,) = LENGTH.unpack(read_exactly(source.read, LENGTH.size))
    return read_exactly(source.read, length)


def _answer(request: Request, files: Sequence[bytes]) -> bytes:
    mode = CHANNELS[request.channels]
    found = read_arrays(files, image_size=request.image_size, color_mode=mode, max_pixels=request.max_pixels)
    refused, pixels = dict[int, Any](), list[bytes]()
    for index, one in enumerate(found):
        if isinstance(one, InvalidError):
            refused[index] = {"code": one.code, "detail": one.detail}
        pixels.append(bytes(request.pixel_bytes) if isinstance(one, InvalidError) else one.tobytes())
    return b"".join([_write(refused), *pixels])


def _write(words: Mapping[Any, Any]) -> bytes:
    content = json.dumps(words).encode()
    return LENGTH.pack(len(content)) + content


def _send(data: bytes) -> None:
    while data:
        data = data[os.write(_SOCKET, data) :]


if __name__ == "__main__":
    main()
