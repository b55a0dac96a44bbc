"""Runs jobs: claims one, has it trained in a process of its own, and records how it ended."""

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from core import logs
from core.crash_points import reach
from core.db.engine import transaction
from core.db.rows import JobRow
from core.domain.jobs import AttemptEnd, JobStatus, StopReason
from core.errors import (
    DatasetRejectedError,
    IntegrityError,
    LeaseLostError,
    LenetError,
    NotFoundError,
    UnavailableError,
)
from core.services import claims, results
from core.services.claims import Claim
from core.services.jobs import wake
from core.services.messages import WakeUp
from core.services.workers import list_trainers
from core.storage import keys
from worker.following import Following, delete_objects
from worker.host import Host
from worker.job_writer import JobWriter, PreemptedError
from worker.lease import Lease
from worker.packs import LocalPack, PackOrder, use_pack
from worker.slots import Slots
from worker.starting import Start, Starts
from worker.trainers import Order, Trainer, TrainerSource

_log = logs.get(__name__)


def run_next_job(host: Host, trainers: TrainerSource, slots: Slots) -> bool:
    """Claim and run one job that waits; return whether there was one."""
    claimed_at = time.monotonic()
    with transaction(host.sessions) as session:
        claim = claims.claim_job(
            session,
            worker=host.name,
            device=host.device,
            lease_seconds=host.settings.lease_seconds,
            engines=host.engines,
            limits=host.settings.limits,
        )
    if claim is None:
        return False
    reach("w.claim_before_beat")
    slots.enter(claim.job_id)
    renew = partial(claims.renew, claim=claim, lease_seconds=host.settings.lease_seconds)
    try:
        with (
            logs.bound(job=claim.job_id, attempt=claim.attempt, request_id=claim.request_id),
            host.hold(renew, claimed_at=claimed_at) as lease,
        ):
            writer = JobWriter(host.sessions, claim, lease, slots.closing)
            run = JobRun(host, claim, lease, writer, slots)
            run.run(trainers)
    finally:
        slots.leave(claim.job_id)
    slots.rest(broke=run.broke)
    return True


@dataclass
class JobRun:
    """One attempt at a job, from its claim to its end.

    Attributes:
        broke: Whether it ended in a way that may be this host's fault, and another worker might do better.
    """

    host: Host
    claim: Claim
    lease: Lease
    writer: JobWriter
    slots: Slots
    broke: bool = False

    def run(self, trainers: TrainerSource) -> None:
        """Train, and record the end whatever it was."""
        self.writer.log(f"attempt {self.claim.attempt} begins on {self.host.name} ({self.host.device})")
        try:
            self._run(trainers)
        except LeaseLostError as error:
            self._tell_loss(error)
        except PreemptedError as error:
            _log.warning("the job is left to the sweeper", detail=error.detail)

    def _tell_loss(self, error: LeaseLostError) -> None:
        """Say that nothing more is done, unless it is all done: the answer of the last commit may have been lost."""
        succeeded = False
        with suppress(UnavailableError), transaction(self.host.sessions, read_only=True) as session:
            succeeded = claims.has_succeeded(session, self.claim)
        if succeeded:
            self.writer.log("succeeded")
        else:
            self.writer.log(f"this attempt no longer holds the job and has stopped: {error.detail}", level="warning")

    def _run(self, trainers: TrainerSource) -> None:
        try:
            self._prepare_and_train(trainers)
        except LeaseLostError:
            raise
        except PreemptedError as error:
            self._release(AttemptEnd.PREEMPTED, JobStatus.QUEUED, error.detail)
        except (NotFoundError, DatasetRejectedError) as error:
            # The dataset, or the job to start from, is gone, or can become no such pack: that will not change.
            self._fail(error.code, error.detail)
        except LenetError as error:
            self._lose(AttemptEnd.UNAVAILABLE, error.detail)
        except Exception as error:  # noqa: BLE001 - the task's boundary: a defect must not look like a lost worker
            _log.exception("the attempt met a defect")
            self._lose(AttemptEnd.WORKER_ERROR, _name(error))

    def _prepare_and_train(self, trainers: TrainerSource) -> None:
        with (
            self.host.scratch("job") as folder,
            use_pack(self.host, self._pack_order(), self.writer) as pack,
        ):
            starts = Starts(self.claim, self.writer, self.host.store, folder)
            while True:
                start = starts.next()
                following, exit_code = self._train(trainers, start, starts.notes, pack=pack, folder=folder)
                if start.checkpoint is None or not _is_broken(following):
                    break
                starts.pass_over(start.checkpoint, "the trainer cannot go on from it")
            self._conclude(following, exit_code)

    def _pack_order(self) -> PackOrder:
        claim = self.claim
        return PackOrder(claim.tenant_id, claim.dataset_id, claim.config["image_size"], claim.config["color_mode"])

    def _train(
        self, trainers: TrainerSource, start: Start, notes: str | None, *, pack: LocalPack, folder: Path
    ) -> tuple[Following, int]:
        """Have one trainer run from ``start`` to its end."""
        self.writer.write(
            lambda session: claims.begin(session, self.claim, resumed_from=start.checkpoint, detail=notes)
        )
        following = Following(
            claim=self.claim,
            lease=self.lease,
            writer=self.writer,
            store=self.host.store,
            closing=self.slots.closing,
            stall_seconds=self.host.settings.stall_seconds,
        )
        order = Order(
            config=self.claim.config,
            pack=str(pack.path),
            work_dir=str(folder),
            device=self.host.device,
            threads=self.host.settings.threads_per_slot,
            resume_from=_text(start.resume_from),
            initial_weights=_text(start.initial_weights),
            speeds=str(self.host.settings.cache_dir / "speeds"),
            dataset=pack.hashes,
        )
        return following, self._follow(following, trainers.take(), order)

    @staticmethod
    def _follow(following: Following, trainer: Trainer, order: Order) -> int:
        """Return the trainer's exit code; whatever happens here, no process is left, nor trains beyond the lease."""
        try:
            with following.lease.ending(trainer.kill):
                trainer.start(order)
                following.follow(trainer)
        except BaseException:
            trainer.kill()
            raise
        finally:
            exit_code = trainer.end()
        return exit_code

    def _conclude(self, following: Following, exit_code: int) -> None:
        """Record how the trainer ended."""
        outcome = following.outcome or {"type": "died"}
        match outcome["type"]:
            case "result":
                self._succeed(outcome["result"])
            case "failed" if outcome["code"] == "out_of_memory":
                self._lose(AttemptEnd.OUT_OF_MEMORY, outcome["detail"], exit_code)
            case "failed":
                self._fail(outcome["code"], outcome["detail"])
            case "stalled":
                self._lose(AttemptEnd.STALLED, outcome["detail"], exit_code)
            case "crashed":
                self._lose(AttemptEnd.TRAINER_CRASHED, outcome["detail"], exit_code)
            case "paused" | "died" if following.preempted_at is not None:
                self._release(AttemptEnd.PREEMPTED, JobStatus.QUEUED, "the worker stops; the job waits for another")
            case "paused":
                self._release(AttemptEnd.PAUSED, JobStatus.PAUSED, "paused by the user")
            case _ if exit_code == -signal.SIGKILL and following.memory_ran_out:
                self._lose(AttemptEnd.OUT_OF_MEMORY, "the kernel ended the trainer: memory had run out", exit_code)
            case _ if exit_code == -signal.SIGKILL:
                self._lose(AttemptEnd.TRAINER_KILLED, "the trainer was ended by SIGKILL from outside", exit_code)
            case _:
                self._lose(AttemptEnd.TRAINER_CRASHED, f"the trainer ended with code {exit_code}", exit_code)

    def _succeed(self, result: dict[str, Any]) -> None:
        artifacts = [self._store_artifact(file) for file in result["files"]]
        reach("w.final_put_before_commit")
        dropped = self.writer.write(
            lambda session: results.succeed(
                session,
                self.claim,
                metrics=result["metrics"],
                stop_reason=StopReason(result["stop_reason"]),
                parameters=result["parameters"],
                artifacts=artifacts,
                exact_resume=result["exact_resume"],
            )
        )
        reach("w.final_commit_before_exit")
        self.writer.log(f"succeeded after {result['stop_reason']}")
        delete_objects(self.host.store, dropped)

    def _store_artifact(self, file: dict[str, Any]) -> results.NewArtifact:
        key = keys.artifact(self.claim.tenant_id, self.claim.job_id, attempt=self.claim.attempt, name=file["name"])
        stored = self.writer.insist(lambda: self.host.store.put_file(key, Path(file["path"])))
        return results.NewArtifact(file["name"], file["media_type"], stored)

    def _fail(self, code: str, detail: str) -> None:
        self.writer.log(f"{code}: {detail}", level="error")
        self.writer.write(lambda session: results.fail(session, self.claim, code=code, detail=detail))

    def _release(self, end: AttemptEnd, after: JobStatus, reason: str) -> None:
        self.writer.write(lambda session: claims.release(session, self.claim, end=end, after=after, reason=reason))
        self.writer.log(reason)

    def _lose(self, end: AttemptEnd, detail: str, exit_code: int | None = None) -> None:
        self.writer.log(f"{end}: {detail}", level="error")
        self.broke, messages = self.writer.write(lambda session: self._lose_in(session, end, detail, exit_code))
        for message in messages:
            self._send(message)

    def _lose_in(
        self, session: Session, end: AttemptEnd, detail: str, exit_code: int | None
    ) -> tuple[bool, list[WakeUp]]:
        """Say that the attempt broke; return whether another worker might train better, and whom to wake to do so."""
        after = claims.lose_own(session, self.claim, end=end, detail=detail, exit_code=exit_code)
        others = any(worker.name != self.host.name for worker in list_trainers(session))
        waits = after == JobStatus.QUEUED and others
        return after is not None and others, wake(session, session.get_one(JobRow, self.claim.job_id)) if waits else []

    def _send(self, message: WakeUp) -> None:
        try:
            self.host.sender.send(message)
        except UnavailableError as error:  # The next sweep will.
            _log.warning("nobody was woken", detail=error.detail)


def _name(error: Exception) -> str:
    """Return what a user may know of a defect; of the system's errors its own words, such as that a disk is full."""
    told = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else None
    return f"{told}." if told else type(error).__name__


def _is_broken(following: Following) -> bool:
    """Return whether the trainer refused what it was to start from."""
    outcome = following.outcome or {}
    return outcome.get("type") == "failed" and outcome.get("code") == IntegrityError.code


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
