"""A user with a thread of his own, who keeps a queue of small jobs filled and changes his mind all the time."""

import queue
import random
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from chaos.caller import Caller
from chaos.platform import Platform
from chaos.squares import JOB, write_squares

_JOBS_AT_ONCE = 6
_LATELY = 12
_LOOK_SECONDS = 0.3
_SEEDS = 3


class User:
    """Submits jobs until the end of the block; ``accepted`` are their ids, with the seed of each."""

    def __init__(self, caller: Caller, archive: Path, *, seed: int) -> None:
        self.accepted: dict[str, int] = {}
        self._caller = caller
        self._archive = archive
        self._chance = random.Random(f"{seed} user")
        self._wishes: queue.SimpleQueue[tuple[str, float]] = queue.SimpleQueue()
        self._leaves = threading.Event()
        self._trouble: BaseException | None = None
        self._dataset_id = ""
        self._thread = threading.Thread(target=self._run, name="user")

    def __enter__(self) -> Self:
        self._dataset_id = self._caller.upload(self._archive)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaves.set()
        self._thread.join()

    def ask(self, kind: str, place: float) -> None:
        """Have the user do something soon; ``place``, 0 to 1, chooses which job, or how much of an upload is sent."""
        self._wishes.put((kind, place))

    def finish(self, platform: Platform, seconds: float) -> None:
        """Let the user submit no more, and resume what is paused until every job has ended, or for so long."""
        self._leaves.set()
        self._thread.join()
        if self._trouble is not None:
            raise self._trouble
        deadline = time.monotonic() + seconds
        while platform.unfinished() and time.monotonic() < deadline:
            for job in self._caller.items("/jobs?status=paused"):
                self._caller.act(job["id"], "resume")
            time.sleep(_LOOK_SECONDS)

    def _run(self) -> None:
        try:
            while not self._leaves.is_set():
                self._fill()
                self._act()
        except BaseException as error:  # noqa: BLE001 - it is raised again where it is waited for
            self._trouble = error

    def _fill(self) -> None:
        queued = self._caller.get(f"/jobs?status=queued&limit={_JOBS_AT_ONCE}")["items"]
        for _ in range(_JOBS_AT_ONCE - len(queued)):
            seed = self._chance.randrange(_SEEDS)
            config: dict[str, Any] = {**JOB, "epochs": 2, "seed": seed}
            self.accepted[self._caller.submit(self._dataset_id, config)] = seed

    def _act(self) -> None:
        """Do what was asked for, or look again in a moment."""
        try:
            kind, place = self._wishes.get(timeout=_LOOK_SECONDS)
        except queue.Empty:
            return
        match kind:
            case "upload":
                new = write_squares(self._archive.with_name("new.zip"), seed=self._chance.randrange(2**31))
                self._caller.insist("POST", "/datasets", sent=new.read_bytes())
            case "drop upload":
                self._caller.drop(self._archive.read_bytes(), share=place)
            case verb:
                job_id = self._choose(verb, place)
                if job_id is not None:
                    self._caller.act(job_id, verb)

    def _choose(self, verb: str, place: float) -> str | None:
        """Return a job of late, if there is one, one that the verb is meant for."""
        status = {"pause": "running", "stop": "running", "resume": "paused", "retry": "cancelled"}.get(verb)
        filtered = f"&status={status}" if status else ""
        jobs = self._caller.get(f"/jobs?limit={_LATELY}{filtered}")["items"]
        return jobs[int(place * len(jobs))]["id"] if jobs else None
