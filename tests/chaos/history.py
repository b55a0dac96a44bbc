"""What happened on a platform, as one list, and the rules that it must keep: the only judge of every fault test.

A history has four parts: each change of a row, as the database's triggers wrote it (`chaos.recording`); each answer of
the API, as the client got it (`chaos.caller`); when the API was not there to answer; and what lies in the store at the
end. `check` is a pure function of it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from core.domain.datasets import DatasetStatus
from core.domain.jobs import ENDED, TRANSITIONS, AttemptEnd, JobStatus

Row = Mapping[str, Any]
# The columns of each table that name an object of the store.
_KEYS = {
    "datasets": ("archive_key", "preview_key"),
    "packs": ("key",),
    "checkpoints": ("key",),
    "artifacts": ("key",),
    "evaluations": ("report_key",),
}
_PRIMARY = {
    "datasets": ("id",),
    "packs": ("dataset_id", "image_size", "color_mode"),
    "checkpoints": ("job_id", "attempt", "epoch", "batch"),
    "artifacts": ("job_id", "name"),
    "jobs": ("id",),
    "job_attempts": ("job_id", "attempt"),
    "epochs": ("job_id", "epoch"),
    "evaluations": ("id",),
}
TABLES = tuple(_PRIMARY)
HUNG = 0
"""The status of a request that nobody answered for so long that the client gave up."""
_SILENT_SECONDS = 15.0  # Thrice what the contract allows: whoever has said nothing by then hangs.
_EVALUATING: dict[str | None, tuple[str, ...]] = {
    None: ("queued",),
    "queued": ("running",),
    "running": ("queued", "succeeded", "failed"),
}


@dataclass(frozen=True)
class Change:
    """One change of one row: ``before`` is ``None`` where it was inserted, ``after`` where it was deleted."""

    number: int
    at: float
    table: str
    before: Row | None
    after: Row | None

    @property
    def row(self) -> Row:
        """Return the row as it is now, or was last."""
        row = self.after if self.after is not None else self.before
        assert row is not None
        return row

    @property
    def job_id(self) -> str | None:
        """Return the job that the row belongs to."""
        return self.row.get("job_id", self.row["id"] if self.table == "jobs" else None)

    @property
    def primary(self) -> tuple[Any, ...]:
        """Return what tells the row from the others of its table."""
        return tuple(self.row[name] for name in _PRIMARY[self.table])

    def became(self, column: str, value: object) -> bool:
        """Return whether this change gave a column a value that it did not have."""
        return self.after is not None and self.after[column] == value and (self.before or {}).get(column) != value


@dataclass(frozen=True)
class Answer:
    """One answer of the API.

    ``key`` is the idempotency key that was sent, ``sent_sha256`` the hash of the archive that was sent, ``read_sha256``
    that of the bytes that were downloaded. Times are the test's own, in seconds.
    """

    method: str
    path: str
    status: int
    body: Any = None
    asked_at: float = 0.0
    answered_at: float = 0.0
    retry_after: str | None = None
    key: str | None = None
    sent_sha256: str | None = None
    read_sha256: str | None = None


@dataclass(frozen=True)
class Stored:
    """An object of the store, read at the end."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class History:
    """Everything that is known of one platform.

    ``objects`` is the store after a garbage collection. In each of the ``absences``, from and to in seconds since 1970,
    the API could answer nobody: it was frozen, or its start was not over.
    """

    changes: list[Change]
    answers: list[Answer] = field(default_factory=list)
    objects: Mapping[str, Stored] = field(default_factory=dict)
    absences: Sequence[tuple[float, float]] = ()

    @cached_property
    def jobs(self) -> dict[str, list[Change]]:
        """Return each job's changes, of all its tables, in order."""
        found: dict[str, list[Change]] = {}
        for change in self.changes:
            if change.job_id is not None:
                found.setdefault(change.job_id, []).append(change)
        return found

    @cached_property
    def evaluations(self) -> dict[str, list[Change]]:
        """Return each evaluation's changes in order."""
        found: dict[str, list[Change]] = {}
        for change in self.changes:
            if change.table == "evaluations":
                found.setdefault(change.row["id"], []).append(change)
        return found

    def rows(self, table: str) -> dict[tuple[Any, ...], Row]:
        """Return a table as it is at the end."""
        rows: dict[tuple[Any, ...], Row] = {}
        for change in self.changes:
            if change.table == table and change.after is None:
                rows.pop(change.primary, None)
            elif change.table == table:
                rows[change.primary] = change.row
        return rows

    def answered(self, method: str, path: str, *statuses: int) -> list[Answer]:
        """Return the answers to one method and path with one of the statuses."""
        return [one for one in self.answers if (one.method, one.path) == (method, path) and one.status in statuses]

    def silence(self, answer: Answer) -> float:
        """Return how many seconds an answer was waited for while the API was there to give it."""
        silent_seconds = absent_until = 0.0
        absences = ((max(begin, answer.asked_at), min(end, answer.answered_at)) for begin, end in self.absences)
        for begin, end in sorted(absences):
            silent_seconds -= max(0.0, end - max(begin, absent_until))
            absent_until = max(absent_until, end)
        return silent_seconds + answer.answered_at - answer.asked_at

    def retries(self, job_id: str) -> int:
        """Return how often the user had a job that had ended queued again."""
        return len(self.answered("POST", f"/jobs/{job_id}/retry", 202))


@dataclass(frozen=True)
class Violation:
    """An invariant that was broken: its name in the fault plan, whose, and how."""

    invariant: str
    subject: str
    detail: str


Found = Iterator[tuple[str, str]]
"""Whose, and how."""


def check(history: History) -> list[Violation]:
    """Return every violation of V1-V6, V8, V10, V11 and V13 in a history of a platform that has come to rest."""
    return [Violation(name, *found) for name, rule in _RULES.items() for found in rule(history)]


def _v1_one_end(history: History) -> Found:
    """Each accepted job or evaluation ends once, each dataset is read; a creation sent again makes one resource."""
    there = history.rows("jobs") | history.rows("evaluations")
    deleted = {one.path.split("/")[2] for one in history.answers if one.method == "DELETE" and one.status == 204}
    for answer in history.answers:
        if not _accepts_work(answer) or deleted & {answer.body["id"], answer.body.get("job_id")}:
            continue
        if (answer.body["id"],) not in there:
            yield answer.body["id"], "was accepted and is not there"
    for job_id, changes in history.jobs.items():
        yield from _judge_statuses(job_id, changes, most_ends=1 + history.retries(job_id))
    for evaluation_id, changes in history.evaluations.items():
        yield from _judge_evaluation(evaluation_id, changes)
    for (dataset_id,), row in history.rows("datasets").items():
        if row.get("status") == DatasetStatus.PROCESSING:
            yield dataset_id, "was not read to its end"
    yield from _judge_keys(history.answers)


def _accepts_work(answer: Answer) -> bool:
    return (answer.method, answer.status) == ("POST", 202) and answer.path.endswith(("/jobs", "/evaluate"))


def _judge_keys(answers: Iterable[Answer]) -> Found:
    """A creation that is sent again makes one resource; what only asks something of a model makes none with an id."""
    ids: dict[str, set[str]] = {}
    for answer in answers:
        if answer.key and answer.method == "POST" and answer.status in (200, 201, 202) and "id" in answer.body:
            ids.setdefault(answer.key, set()).add(answer.body["id"])
    for key, made in ids.items():
        if len(made) > 1:
            yield key, f"one idempotency key made {sorted(made)}"


def _judge_evaluation(evaluation_id: str, changes: list[Change]) -> Found:
    status = None
    for change in changes:
        if change.after is None:
            return  # It was deleted, or its job was.
        before, status = status, change.after["status"]
        if status != before and status not in _EVALUATING.get(before, ()):
            yield evaluation_id, f"went from {before} to {status}"
    if status in _EVALUATING:
        yield evaluation_id, f"has not ended: {status}"


def _judge_statuses(job_id: str, changes: list[Change], *, most_ends: int) -> Found:
    status, ends = None, 0
    for change in changes:
        if change.table != "jobs" or change.after is None or change.after["status"] == status:
            continue
        before, status = status, change.after["status"]
        if before is None and status != JobStatus.QUEUED:
            yield job_id, f"began as {status}"
        if before is not None and status not in TRANSITIONS[JobStatus(before)]:
            yield job_id, f"went from {before} to {status}"
        ends += status in ENDED
    if status not in ENDED:
        yield job_id, f"has not ended: {status}"
    if ends > most_ends:
        yield job_id, f"ended {ends} times"


def _v2_no_stale_write(history: History) -> Found:
    """No write is accepted from any attempt but the one that holds the job or the evaluation."""
    for evaluation_id, changes in history.evaluations.items():
        yield from _judge_evaluators(evaluation_id, changes)
    for job_id, changes in history.jobs.items():
        status, attempt = None, 0
        for change in changes:
            if change.table == "jobs" and change.after is not None:
                if change.after["attempt"] < attempt:
                    yield job_id, f"its attempt fell from {attempt} to {change.after['attempt']}"
                status, attempt = change.after["status"], change.after["attempt"]
            elif change.table in ("epochs", "checkpoints", "artifacts") and change.after is not None:
                holds = JobStatus.SUCCEEDED if change.table == "artifacts" else JobStatus.RUNNING
                if change.after["attempt"] != attempt:
                    yield (
                        job_id,
                        f"{change.table}: attempt {change.after['attempt']} wrote while {attempt} held the job",
                    )
                if status != holds:
                    yield job_id, f"{change.table} written while the job was {status}"


def _judge_evaluators(evaluation_id: str, changes: list[Change]) -> Found:
    """Only a claim changes the attempt, by one, and a report lies under the number of the attempt that ends."""
    for change in changes:
        row, before = change.after, change.before or {"attempt": 0}
        if row is None:
            continue
        if row["attempt"] - before["attempt"] != change.became("status", "running"):
            yield evaluation_id, f"its attempt went from {before['attempt']} to {row['attempt']} while {row['status']}"
        if row["report_key"] and f"/a{row['attempt']}/" not in row["report_key"]:
            yield evaluation_id, f"attempt {row['attempt']} ended with the report {row['report_key']}"


def _v3_epochs_rise_by_one(history: History) -> Found:
    """Epochs rise by one, without gap or repeat, and a resumed attempt begins at its checkpoint or before."""
    for job_id, changes in history.jobs.items():
        epochs: dict[int, Row] = {}
        checkpoints: dict[tuple[Any, ...], int] = {}
        heard: set[int] = set()
        for change in changes:
            if change.table == "checkpoints":
                _apply(checkpoints, change, change.row["epoch"])
            if change.table != "epochs":
                continue
            if change.after is not None:
                yield from _judge_epoch(job_id, change, epochs, checkpoints, heard)
            _apply(epochs, change, change.row, name=change.row["epoch"])
        if history.rows("jobs").get((job_id,), {}).get("status") == JobStatus.SUCCEEDED and not epochs:
            yield job_id, "succeeded without an epoch"


def _apply(rows: dict[Any, Any], change: Change, value: Any, name: Any = None) -> None:
    name = change.primary if name is None else name
    if change.after is None:
        rows.pop(name, None)
    else:
        rows[name] = value


def _judge_epoch(
    job_id: str, change: Change, epochs: Mapping[int, Row], checkpoints: Mapping[Any, int], heard: set[int]
) -> Found:
    epoch, attempt = change.row["epoch"], change.row["attempt"]
    first = attempt not in heard
    heard.add(attempt)
    if epoch in epochs:
        # A commit whose answer was lost is written again, to the same figures.
        same = all(epochs[epoch][name] == change.row[name] for name in ("attempt", "train_loss", "val_loss"))
        if not same:
            yield job_id, f"epoch {epoch} came twice (attempts {epochs[epoch]['attempt']} and {attempt})"
    elif epoch != 1 and epoch - 1 not in epochs:
        yield job_id, f"epoch {epoch} came without the one before"
    if first and epoch > max(checkpoints.values(), default=1):
        yield job_id, f"attempt {attempt} began with epoch {epoch}, beyond every checkpoint"


def _v4_results_are_whole(history: History) -> Found:
    """A job that succeeded has artifacts whose bytes are those recorded, and a model that answers."""
    artifacts = history.rows("artifacts")
    for (job_id,), job in history.rows("jobs").items():
        own = [row for (owner, _), row in artifacts.items() if owner == job_id]
        if job["status"] != JobStatus.SUCCEEDED:
            if own:
                yield job_id, f"has artifacts and is {job['status']}"
            continue
        if not any(row["name"] == "model.onnx" for row in own):
            yield job_id, "succeeded without a model"
        for row in own:
            stored = history.objects.get(row["key"])
            if stored != Stored(row["size_bytes"], row["sha256"]):
                yield job_id, f"{row['name']} is not in the store as it was recorded: {stored}"
        if not history.answered("POST", f"/jobs/{job_id}/predict", 200):
            yield job_id, "succeeded, and its model was not seen to answer"
    for (evaluation_id,), row in history.rows("evaluations").items():
        stored = history.objects.get(row["report_key"])
        if row["status"] == "succeeded" and stored != Stored(row["report_size_bytes"], row["report_sha256"]):
            yield evaluation_id, f"its report is not in the store as it was recorded: {stored}"


def _v5_rows_and_objects_agree(history: History) -> Found:
    """No row points at a missing object, and no object is left that no row names; a rejected archive is not kept."""
    named = {
        row[column]: table
        for table, columns in _KEYS.items()
        for row in history.rows(table).values()
        for column in columns
        if row[column] is not None and row.get("status") != "rejected"
    }
    for key, table in named.items():
        if key not in history.objects:
            yield key, f"a row of {table} points at it, and it is not there"
    for key in history.objects:
        if key not in named:
            yield key, "no row names it, and it was not collected"


def _v6_uploads_are_kept(history: History) -> Found:
    """An upload that was accepted is read back as the same bytes."""
    for upload in history.answers:
        if upload.sent_sha256 is None or upload.status not in (200, 201, 202):
            continue
        dataset_id = upload.body["id"]
        if upload.body["sha256"] != upload.sent_sha256:
            yield dataset_id, "was answered with another hash than that of the bytes sent"
        reads = history.answered("GET", f"/datasets/{dataset_id}/archive", 200)
        is_rejected = history.rows("datasets").get((dataset_id,), {}).get("status") == "rejected"
        if not reads and not is_rejected:
            yield dataset_id, "was accepted and never read back"
        if any(read.read_sha256 != upload.sent_sha256 for read in reads):
            yield dataset_id, "was read back as other bytes"


def _v8_poison_ends(history: History) -> Found:
    """A job or an evaluation that fails says why, a job within its attempts."""
    for (job_id,), job in history.rows("jobs").items():
        if job["attempts_lost"] > job["max_attempts"]:
            yield job_id, f"broke {job['attempts_lost']} attempts of {job['max_attempts']}"
    for (resource_id,), row in (history.rows("jobs") | history.rows("evaluations")).items():
        error = row["error"] or {}
        if row["status"] == JobStatus.FAILED and not (error.get("code") and error.get("detail")):
            yield resource_id, f"failed without a named reason: {error}"


def _v10_cancelled_stays_cancelled(history: History) -> Found:
    """A job whose cancellation was answered ends as cancelled, unless the user has it queued again."""
    for job_id, changes in history.jobs.items():
        answers = history.answered("POST", f"/jobs/{job_id}/cancel", 202)
        if not answers:
            continue
        if any(answer.body["status"] != JobStatus.CANCELLED for answer in answers):
            yield job_id, "a cancellation was answered with another status"
        cancels = sum(change.table == "jobs" and change.became("status", "cancelled") for change in changes)
        if not cancels:
            yield job_id, "a cancellation was answered and not written"
        status = history.rows("jobs").get((job_id,), {"status": None})["status"]
        if status == JobStatus.SUCCEEDED and cancels > history.retries(job_id):
            yield job_id, "was cancelled and succeeded"


def _v11_no_silent_failure(history: History) -> Found:
    """The API never fails without a word: it does not hang, answers no 500, and a 503 says when to come again."""
    for answer in history.answers:
        if (silent_seconds := history.silence(answer)) >= _SILENT_SECONDS:
            yield answer.path, f"{answer.method} was not answered in {silent_seconds:.0f} s"
        if answer.status >= 500 and answer.status != 503:
            yield answer.path, f"{answer.method} was answered with {answer.status}"
        if answer.status == 503 and not answer.retry_after:
            yield answer.path, f"{answer.method} was answered with 503 without Retry-After"


def _v13_every_end_is_explained(history: History) -> Found:
    """Each attempt has one row, and the row tells once why it ended."""
    for change in history.changes:
        before, after = change.before, change.after
        if change.table == "job_attempts" and before and after and before["end"] not in (None, after["end"]):
            yield change.row["job_id"], f"an attempt's end was rewritten: {before['end']}, {after['end']}"
    attempts = history.rows("job_attempts")
    for (job_id,), job in history.rows("jobs").items():
        own = {number: row for (owner, number), row in attempts.items() if owner == job_id}
        if sorted(own) != list(range(1, job["attempt"] + 1)):
            yield job_id, f"has attempts {sorted(own)} and is in its {job['attempt']}."
        for number, row in own.items():
            if row["end"] is None and (job["status"], job["attempt"]) != (JobStatus.RUNNING, number):
                yield job_id, f"attempt {number} ended without a reason"
            if row["end"] is not None and (row["end"] not in set(AttemptEnd) or row["ended_at"] is None):
                yield job_id, f"attempt {number} ended as {row['end']!r} at {row['ended_at']}"
        yield from _judge_last(job_id, job, own.get(job["attempt"]))


def _judge_last(job_id: str, job: Row, last: Row | None) -> Found:
    succeeded = last is not None and last["end"] == AttemptEnd.SUCCEEDED
    if succeeded != (job["status"] == JobStatus.SUCCEEDED):
        yield job_id, f"is {job['status']}, and its last attempt's end is {last and last['end']}"


_RULES: dict[str, Callable[[History], Found]] = {
    "V1": _v1_one_end,
    "V2": _v2_no_stale_write,
    "V3": _v3_epochs_rise_by_one,
    "V4": _v4_results_are_whole,
    "V5": _v5_rows_and_objects_agree,
    "V6": _v6_uploads_are_kept,
    "V8": _v8_poison_ends,
    "V10": _v10_cancelled_stays_cancelled,
    "V11": _v11_no_silent_failure,
    "V13": _v13_every_end_is_explained,
}
