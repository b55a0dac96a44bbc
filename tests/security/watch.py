"""What must be as it was after every attack: the common assertions of the suite."""

import time
from collections import Counter

from chaos.processes import until
from security.estate import HEALTHY_SECONDS, MEBIBYTE, MEMORY_BYTES, SETTLE_SECONDS, Estate, is_healthy

_TRIES = 5


class Watch:
    """Looks at the platform before an attack, and again at its end.

    ``allowed`` is what the test says it leaves: most new rows of a table, and most new files of the store as
    ``objects``; ``None`` for any number.
    """

    def __init__(self, estate: Estate) -> None:
        self.allowed: dict[str, int | None] = {}
        self._estate = estate
        self._processes = estate.processes()
        self._before = estate.footprint()
        self._status, self._attempt, *_ = estate.slow_progress()

    def check(self) -> None:
        """Fail where the attack has left anything behind that it has not declared, or hurt anybody."""
        reached = self._estate.slow_progress()
        self._check_health()
        assert self._processes <= self._estate.processes(), f"ended: {self._processes - self._estate.processes()}"
        self._check_traces()
        self._check_memory()
        self._check_bystander(reached[2:])

    def _check_health(self) -> None:
        """The machine may be busy with somebody else for a moment; an API that is stuck is so at every try."""
        root = self._estate.fortress.root
        assert any(is_healthy(root) for _ in range(_TRIES)), f"/healthz: no 200 within {HEALTHY_SECONDS:g} s"

    def _check_traces(self) -> None:
        """What goes on in the background has a while to be over."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while (traces := self._traces()) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not traces, "\n".join(traces)

    def _traces(self) -> list[str]:
        before, after = self._before, self._estate.footprint()
        new = Counter({table: len(after.rows[table] - rows) for table, rows in before.rows.items()})
        new["objects"] = len(after.objects - before.objects)
        gone = {table: rows - after.rows[table] for table, rows in before.rows.items()}
        # A file that somebody was about to write has another name now.
        lost = {name for name in before.objects - after.objects if not name.startswith(".")}
        return [
            *(f"{count} new in {name}" for name, count in new.items() if count > self._limit(name)),
            *(f"gone from {table}: {rows}" for table, rows in gone.items() if rows),
            *(f"gone from the store: {name}" for name in lost),
            *(f"outside the platform's folder: {name}" for name in after.outside - before.outside),
        ]

    def _limit(self, name: str) -> float:
        limit = self.allowed.get(name, 0)
        return float("inf") if limit is None else limit

    def _check_memory(self) -> None:
        estate = self._estate
        bound = estate.memory_bytes + MEMORY_BYTES
        deadline = time.monotonic() + SETTLE_SECONDS
        while (used := estate.api_memory_bytes()) > bound and time.monotonic() < deadline:
            time.sleep(0.1)
        estate.most_memory_bytes = max(estate.most_memory_bytes, used)
        assert used <= bound, f"the API holds {used / MEBIBYTE:.0f} MiB, {estate.memory_bytes / MEBIBYTE:.0f} at first"

    def _check_bystander(self, reached: tuple[int, ...]) -> None:
        def advanced() -> bool:
            status, attempt, *place = self._estate.slow_progress()
            assert (status, attempt) == (self._status, self._attempt) == ("running", 1), (status, attempt)
            return tuple(place) > reached

        until(advanced, "the third tenant's job advances", SETTLE_SECONDS)
