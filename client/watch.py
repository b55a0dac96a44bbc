"""Jobs as they train: a table that moves on a terminal, a line for each change elsewhere."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live

from client.render import progress_line, progress_table
from client.types import Job

REFRESHES_PER_SECOND = 8


class Board:
    """Some jobs on a console, each in its latest state; a context manager.

    On a terminal one table is drawn again and again; elsewhere, and where the cursor cannot be moved, a line is printed
    whenever the status, the attempt or the epoch of a job has changed.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._jobs: dict[str, Job] = {}
        moves = console.is_terminal and not console.is_dumb_terminal
        self._live = Live(console=console, refresh_per_second=REFRESHES_PER_SECOND) if moves else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def update(self, job: Job) -> None:
        """Show the latest state of a job."""
        before = self._jobs.get(job.id)
        self._jobs[job.id] = job
        if self._live:
            self._live.update(progress_table(list(self._jobs.values())))
        elif before is None or _milestone(job) != _milestone(before):
            self._console.print(progress_line(job), markup=False, soft_wrap=True)


def _milestone(job: Job) -> tuple[object, ...]:
    return job.status, job.attempt, job.progress.epoch if job.progress else None
