"""Runs evaluations: claims one, has it computed in a process of its own, and records what came of it."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from core import logs
from core.crash_points import reach
from core.db.engine import transaction
from core.errors import DatasetRejectedError, LeaseLostError, LenetError, NotFoundError
from core.services import evaluations, results
from core.services.evaluations import EvaluationClaim
from core.services.jobs import get_job
from core.settings import ENVIRONMENT_PREFIX
from core.storage import keys
from worker.host import Host
from worker.job_writer import PatientWriter, PreemptedError
from worker.lease import Lease
from worker.packs import PackOrder, use_pack
from worker.slots import Slots

_TICK_SECONDS = 0.2
_MODEL = "model.onnx"
_log = logs.get(__name__)


def evaluate_next(host: Host, slots: Slots) -> bool:
    """Run one evaluation that waits; return whether there was one."""
    claimed_at = time.monotonic()
    with transaction(host.sessions) as session:
        claim = evaluations.claim_evaluation(session, worker=host.name, lease_seconds=host.settings.lease_seconds)
    if claim is None:
        return False
    reach("e.claim_before_beat")
    slots.enter(claim.evaluation_id)
    try:
        with logs.bound(evaluation=claim.evaluation_id, attempt=claim.attempt, request_id=claim.request_id):
            _run(host, claim, slots, claimed_at=claimed_at)
    finally:
        slots.leave(claim.evaluation_id)
    return True


def _run(host: Host, claim: EvaluationClaim, slots: Slots, *, claimed_at: float) -> None:
    renew = partial(evaluations.renew_evaluation, claim=claim, lease_seconds=host.settings.lease_seconds)
    try:
        with host.hold(renew, claimed_at=claimed_at) as lease:
            EvaluationRun(host, claim, lease, PatientWriter(host.sessions, lease, slots.closing), slots).run()
    except LeaseLostError as error:
        _log.warning("the evaluation is no longer ours", reason=error.detail)
    except LenetError as error:
        _log.error("the evaluation is left to the sweeper", reason=error.detail)


@dataclass
class EvaluationRun:
    """One attempt at an evaluation, from its claim to its end."""

    host: Host
    claim: EvaluationClaim
    lease: Lease
    writer: PatientWriter
    slots: Slots

    def run(self) -> None:
        """Evaluate, and record the end whatever it was; raises `LeaseLostError` where it is no longer held."""
        try:
            outcome = self._compute()
        except LeaseLostError:
            raise
        except PreemptedError:
            outcome = {"released": True}
        except (DatasetRejectedError, NotFoundError) as error:
            outcome = {"failed": {"code": error.code, "detail": error.detail}}
        except LenetError as error:
            outcome = {"lost": {"code": error.code, "detail": error.detail}}
        except Exception as error:  # noqa: BLE001 - the task's boundary: a defect must not look like a lost worker
            _log.exception("the attempt met a defect")
            outcome = {"lost": {"code": "worker_error", "detail": type(error).__name__}}
        self._conclude(outcome)

    def _compute(self) -> dict[str, Any]:
        """Return the process's last word; of a result the report is in the store."""
        with self.host.scratch("evaluation") as folder:
            model, report = self._fetch_model(folder), folder / "report"
            with use_pack(self.host, self._pack_order(), self.writer) as pack:
                outcome = self._ask({"model": str(model), "pack": str(pack.path), "report": str(report)})
            if "result" in outcome:
                outcome["stored"] = self.writer.insist(lambda: self.host.store.put_file(self._key(), report))
            return outcome

    def _pack_order(self) -> PackOrder:
        """Return the pack of the dataset in the form in which the model was trained."""
        claim = self.claim
        config = self.writer.write(lambda session: get_job(session, claim.tenant_id, claim.job_id).config)
        return PackOrder(claim.tenant_id, claim.dataset_id, config["image_size"], config["color_mode"])

    def _fetch_model(self, folder: Path) -> Path:
        claim, path = self.claim, folder / _MODEL
        row = self.writer.write(lambda session: results.get_artifact(session, claim.tenant_id, claim.job_id, _MODEL))
        self.writer.insist(lambda: self.host.store.fetch(row.key, path, sha256=row.sha256, size_bytes=row.size_bytes))
        return path

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        settings = self.host.settings
        more = {"part": self.claim.part, "threads": settings.threads_per_slot, "nice": settings.worker_nice}
        with _running({**order, **more}) as process, self.lease.ending(lambda: _kill(process)):
            return self._listen(process)

    def _listen(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        """Return the process's last word, or why it has none."""
        heard = time.monotonic()
        for message in _iterate_messages(process):
            self.lease.check()
            if self.slots.closing.is_set():
                return {"released": True}
            if message is None and time.monotonic() - heard > self.host.settings.stall_seconds:
                return {"lost": {"code": "stalled", "detail": "The evaluation stood still."}}
            if message is not None:
                heard = time.monotonic()
                if "progress" not in message:
                    return message
                reach("e.compute_mid")
        self.lease.check()  # It may have been ended with the lease.
        return {"lost": {"code": "evaluator_crashed", "detail": f"Its process ended with code {process.wait()}."}}

    def _conclude(self, outcome: dict[str, Any]) -> None:
        claim = self.claim
        if "result" in outcome:
            stored, metrics = outcome["stored"], outcome["result"]
            reach("e.put_before_commit")
            self.writer.write(
                lambda session: evaluations.succeed_evaluation(session, claim, metrics=metrics, report=stored)
            )
            reach("e.commit_before_exit")
            _log.info("evaluated", accuracy=metrics["accuracy"])
        elif "failed" in outcome:
            self.writer.write(lambda session: evaluations.fail_evaluation(session, claim, **outcome["failed"]))
            _log.error("the evaluation failed", **outcome["failed"])
        elif "released" in outcome:
            self.writer.write(lambda session: evaluations.release_evaluation(session, claim))
        else:
            lost, most = outcome["lost"], self.host.settings.max_attempts
            self.writer.write(lambda session: evaluations.lose_evaluation(session, claim, max_attempts=most, **lost))
            _log.error("the attempt broke", **lost)

    def _key(self) -> str:
        claim = self.claim
        return keys.evaluation_report(claim.tenant_id, claim.job_id, claim.evaluation_id, attempt=claim.attempt)


@contextmanager
def _running(order: dict[str, Any]) -> Iterator[subprocess.Popen[bytes]]:
    """Start the evaluator, without any credential in its environment; no process is left at the end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)}
    process = subprocess.Popen(
        [sys.executable, "-m", "worker.evaluator"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**environment, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with contextlib.suppress(BrokenPipeError):  # It has died: its silence will tell.
            process.stdin.write(json.dumps(order).encode() + b"\n")
            process.stdin.flush()
        yield process
    finally:
        _kill(process)
        process.wait()
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGKILL)


def _iterate_messages(process: subprocess.Popen[bytes]) -> Iterator[dict[str, Any] | None]:
    """Yield what the process says, and ``None`` each time that it has said nothing for a moment; end with it."""
    assert process.stdout is not None
    pipe, buffer = process.stdout.fileno(), b""
    while True:
        ready, _, _ = select.select([pipe], [], [], _TICK_SECONDS)
        if not ready:
            yield None
            continue
        data = os.read(pipe, 2**16)
        if not data:
            return
        *lines, buffer = (buffer + data).split(b"\n")
        for line in lines:
            yield json.loads(line)
