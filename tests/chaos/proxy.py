"""A TCP proxy whose link can be made ill while it runs.

::

    with Proxy(("127.0.0.1", 6379)) as proxy:
        client = redis.Redis(port=proxy.port)
        proxy.ail(down=True)        # nobody connects any more, and who was connected is cut off
        proxy.heal()

The other end is ``(host, port)`` or the path of a Unix socket. One thread with a loop of its own serves all links; what
`ail` sets holds at once, for links that are open too. Ills add up: ``ail(latency_seconds=2, bytes_per_second=5000)``.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from free_ports import find_free_port

_PIECE_BYTES = 2**16
_LOOK_SECONDS = 0.02
_START_SECONDS = 10.0


@dataclass(frozen=True)
class Ills:
    """What is wrong with the link; as it stands, nothing.

    Attributes:
        latency_seconds: How long each piece is held up, in each direction.
        bytes_per_second: How many bytes pass in each direction of each link.
        down: New links are refused, and open ones are reset.
        hole: Nothing passes and nobody is told: neither bytes nor an end. New links are taken, into the hole. A link
            whose server ends meanwhile is half-open from then on: its client hears nothing, and RST once it speaks.
        slow_close_seconds: How long the other side waits to hear that one side has closed.
        timeout_seconds: A link is closed once it has been open for so long.
        slice_bytes: Pieces of this size at most are sent on, each by itself.
        limit_bytes: A link is closed after so many bytes from the server.
        answer: What each new link gets at once instead of the server.
        alter: Changes what comes from the server, piece by piece.
    """

    latency_seconds: float = 0.0
    bytes_per_second: float | None = None
    down: bool = False
    hole: bool = False
    slow_close_seconds: float = 0.0
    timeout_seconds: float | None = None
    slice_bytes: int | None = None
    limit_bytes: int | None = None
    answer: bytes | None = None
    alter: Callable[[bytes], bytes] | None = None


class _CutError(Exception):
    """The link is to be reset."""


class _Link:
    """One client and its way to the server."""

    def __init__(self, proxy: "Proxy", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._reader, self._writer = reader, writer
        self._answers: asyncio.StreamReader | None = None
        self._server: asyncio.StreamWriter | None = None
        self._from_server = 0
        self._is_forgotten = False

    async def run(self) -> None:
        """Serve the link to its end."""
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._proxy.ills.timeout_seconds):
                    await self._serve()
        except* (_CutError, OSError):
            self.reset()
        finally:
            for writer in filter(None, (self._writer, self._server)):
                writer.close()

    def reset(self) -> None:
        """End both sides with RST: what is closed with a wait of nothing says no good-bye."""
        for writer in filter(None, (self._writer, self._server)):
            end = writer.get_extra_info("socket")
            if end is not None and end.family != socket.AF_UNIX:
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _serve(self) -> None:
        await self._leave_hole()
        ills = self._proxy.ills
        if ills.down:
            raise _CutError
        if ills.answer is not None:
            await self._reader.read(_PIECE_BYTES)
            self._writer.write(ills.answer)
            await self._writer.drain()
            return
        self._answers, self._server = await self._proxy.connect()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._pass(self._reader, self._server, back=False))
            tasks.create_task(self._pass(self._answers, self._writer, back=True))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, back: bool) -> None:
        while piece := await self._read(reader):
            size = self._proxy.ills.slice_bytes or len(piece)
            for start in range(0, len(piece), size):
                if not await self._send(piece[start : start + size], writer, back=back):
                    return
        await self._leave_hole()
        if back and self._is_forgotten:
            return
        await asyncio.sleep(self._proxy.ills.slow_close_seconds)
        with contextlib.suppress(OSError):
            writer.write_eof()

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        """Return the next piece; nothing at the end, nor where the other side ended with RST that the hole swallows."""
        try:
            return await reader.read(_PIECE_BYTES)
        except OSError:
            if reader is self._answers and self._proxy.ills.hole:
                return b""
            raise

    async def _send(self, piece: bytes, writer: asyncio.StreamWriter, *, back: bool) -> bool:
        """Send a piece on as the link's ills have it; return whether more may follow."""
        ills = self._proxy.ills
        await asyncio.sleep(ills.latency_seconds + len(piece) / (ills.bytes_per_second or float("inf")))
        await self._leave_hole()
        if self._is_forgotten:
            if back:
                return False
            raise _CutError
        if back and ills.limit_bytes is not None:
            piece = piece[: max(0, ills.limit_bytes - self._from_server)]
        if back:
            self._from_server += len(piece)
        writer.write(ills.alter(piece) if back and ills.alter else piece)
        await writer.drain()
        if back and ills.limit_bytes is not None and self._from_server >= ills.limit_bytes:
            self._writer.close()
            return False
        return True

    async def _leave_hole(self) -> None:
        while self._proxy.ills.hole:
            self._is_forgotten |= self._has_ended()
            await asyncio.sleep(_LOOK_SECONDS)

    def _has_ended(self) -> bool:
        return self._answers is not None and (self._answers.at_eof() or self._answers.exception() is not None)


class Proxy:
    """Listens on ``port`` of the loopback address while the block lasts, and leads to ``target``."""

    def __init__(self, target: tuple[str, int] | Path) -> None:
        self.ills = Ills()
        self._target = target
        self._links: dict[_Link, asyncio.Task[None]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self.port = find_free_port()

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def ail(self, **ills: Any) -> None:
        """Have the link suffer from ``ills`` and nothing else; see `Ills`."""
        self.ills = Ills(**ills)
        self._do(self._apply())

    def heal(self) -> None:
        """Have the link suffer from nothing. What fell into the hole arrives now, where its sender still lives."""
        self.ail()

    def reset(self) -> None:
        """End every open link with RST; new ones are served."""
        self._do(self._reset())

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return a link to the server."""
        if isinstance(self._target, Path):
            return await asyncio.open_unix_connection(self._target)
        return await asyncio.open_connection(*self._target)

    async def _apply(self) -> None:
        if self.ills.down:
            await self._stop()
        elif self._server is None:
            await self._listen()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link, task = _Link(self, reader, writer), asyncio.current_task()
        assert task is not None
        self._links[link] = task
        try:
            with contextlib.suppress(asyncio.CancelledError):  # That was us, in `_reset`.
                await link.run()
        finally:
            del self._links[link]

    async def _reset(self) -> None:
        for link, task in list(self._links.items()):
            link.reset()
            task.cancel()
        await asyncio.gather(*self._links.values(), return_exceptions=True)

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._reset()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_START_SECONDS)
