"""Pictures that are drawn when they are asked for, by a process of their own: the API loads no drawing library."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.errors import TooManyRequestsError, UnavailableError
from core.settings import ENVIRONMENT_PREFIX

COMMAND = (sys.executable, "-m", "core.reporting")
_KEPT = 64


class Pictures:
    """Draws, a few at once, and keeps the last pictures: one that is asked for every second is drawn once an epoch.

    Args:
        fonts: Folder in which the list of fonts is kept; unset: the user's own.
        most: Pictures that are drawn at once.
        wait_seconds: How long a request waits until it may draw.
        draw_seconds: How long drawing may take.
        command: What draws in place of ``python -m core.reporting`` (tests).
    """

    def __init__(
        self,
        fonts: Path | None = None,
        *,
        most: int = 1,
        wait_seconds: float = 5.0,
        draw_seconds: float = 20.0,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._fonts = fonts
        self._places = threading.BoundedSemaphore(most)
        self._wait_seconds, self._draw_seconds = wait_seconds, draw_seconds
        self._command = command
        self._draw = lru_cache(maxsize=_KEPT)(self._run)

    def draw_history(self, epochs: Sequence[Mapping[str, Any]], *, title: str) -> bytes:
        """Return the plot of a training's epochs as a PNG file.

        Raises:
            TooManyRequestsError: As many are drawn as may be at once, and none got done in time.
            UnavailableError: The process took too long or could not draw it.
        """
        return self._draw(json.dumps({"title": title, "epochs": list(epochs)}))

    def _run(self, asked: str) -> bytes:
        with self._place():
            try:
                done = subprocess.run(  # noqa: S603 - our own program, no shell
                    self._command,
                    input=asked.encode(),
                    capture_output=True,
                    timeout=self._draw_seconds,
                    check=True,
                    env=self._environment(),
                )
            except (subprocess.SubprocessError, OSError) as error:
                raise UnavailableError("The picture could not be drawn now.") from error
        return done.stdout

    @contextmanager
    def _place(self) -> Iterator[None]:
        if not self._places.acquire(timeout=self._wait_seconds):
            raise TooManyRequestsError("Other pictures are being drawn; try again later.")
        try:
            yield
        finally:
            self._places.release()

    def _environment(self) -> dict[str, str]:
        """Return the environment without any secret of the platform."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)}
        return kept | ({"MPLCONFIGDIR": str(self._fonts.resolve())} if self._fonts else {})
