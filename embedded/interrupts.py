"""Ctrl-C and its like: asked once, the platform stops in order; asked twice, in a hurry."""

import signal
from types import FrameType, TracebackType
from typing import Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Counts the signals that ask for a stop while the context lasts.

    The handler only counts: whatever was under way ends first, and nothing is left half done.
    """

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Self:
        """Take the signals over, but for those that we were started to ignore (``nohup``)."""
        self._previous = {number: signal.getsignal(number) for number in _SIGNALS}
        for number, handler in self._previous.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - what signal.signal calls
        self.count += 1

    def asked(self) -> bool:
        """Return whether a stop was asked for."""
        return self.count > 0

    def hurried(self) -> bool:
        """Return whether it was asked for again."""
        return self.count > 1
