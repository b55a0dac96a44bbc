"""The checker itself: a good history has no violation, and each broken one is found under its own name."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from chaos.history import HUNG, Answer, Change, History, Stored, check

SHA = "a" * 64
PREDICTED = Answer("POST", "/jobs/j/predict", 200, {})


@dataclass
class Story:
    """A history that is told change by change; ``rows`` is the present state."""

    changes: list[Change] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    objects: dict[str, Stored] = field(default_factory=dict)
    rows: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def insert(self, table: str, name: str, /, **row: Any) -> None:
        self._tell(table, None, row)
        self.rows[table, name] = row

    def update(self, table: str, name: str, /, **columns: Any) -> None:
        before = self.rows[table, name]
        self.rows[table, name] = {**before, **columns}
        self._tell(table, before, self.rows[table, name])

    def delete(self, table: str, name: str) -> None:
        self._tell(table, self.rows.pop((table, name)), None)

    def _tell(self, table: str, before: dict | None, after: dict | None) -> None:
        self.changes.append(Change(len(self.changes), float(len(self.changes)), table, before, after))

    def history(self) -> History:
        return History(self.changes, self.answers, self.objects)

    def broken(self) -> set[str]:
        return {violation.invariant for violation in check(self.history())}

    def submit(self) -> None:
        self.insert("jobs", "j", id="j", status="queued", attempt=0, attempts_lost=0, max_attempts=3, error=None)
        self.answers.append(Answer("POST", "/jobs", 202, {"id": "j"}, key="k"))

    def claim(self) -> int:
        attempt = self.rows["jobs", "j"]["attempt"] + 1
        self.update("jobs", "j", status="running", attempt=attempt)
        self.insert("job_attempts", f"{attempt}", job_id="j", attempt=attempt, end=None, ended_at=None)
        return attempt

    def epoch(self, number: int, attempt: int, loss: float = 0.5) -> None:
        row = {"job_id": "j", "epoch": number, "attempt": attempt, "train_loss": loss, "val_loss": loss}
        if ("epochs", f"{number}") in self.rows:
            self.update("epochs", f"{number}", **row)
        else:
            self.insert("epochs", f"{number}", **row)

    def checkpoint(self, epoch: int, attempt: int) -> None:
        key = f"c{attempt}-{epoch}"
        self.insert("checkpoints", key, job_id="j", attempt=attempt, epoch=epoch, batch=0, key=key)
        self.objects[key] = Stored(1, SHA)

    def end(self, attempt: int, end: str, status: str, **columns: Any) -> None:
        self.update("jobs", "j", status=status, **columns)
        self.update("job_attempts", f"{attempt}", end=end, ended_at="then")

    def succeed(self, attempt: int) -> None:
        self.update("jobs", "j", status="succeeded")
        artifact = {"job_id": "j", "attempt": attempt, "name": "model.onnx", "key": "m", "size_bytes": 9, "sha256": SHA}
        self.insert("artifacts", "model.onnx", **artifact)
        self.update("job_attempts", f"{attempt}", end="succeeded", ended_at="then")
        for table, name in [key for key in self.rows if key[0] == "checkpoints"]:
            self.delete(table, name)
            del self.objects[name]
        self.objects["m"] = Stored(9, SHA)
        self.answers.append(PREDICTED)


def begun() -> Story:
    """Return a job in its second attempt: the first wrote epochs 1 and 2, and a checkpoint after epoch 1."""
    story = Story()
    story.submit()
    story.claim()
    story.epoch(1, 1)
    story.checkpoint(2, 1)
    story.epoch(2, 1)
    story.end(1, "worker_lost", "queued", attempts_lost=1)
    story.claim()
    story.delete("epochs", "2")
    return story


def whole() -> Story:
    """Return a job that succeeded in its second attempt, and an upload that was read back."""
    story = begun()
    story.epoch(2, 2)
    story.succeed(2)
    dataset = {"id": "ds", "archive_key": "d", "preview_key": None}
    story.insert("datasets", "ds", **dataset)
    story.objects["d"] = Stored(3, SHA)
    story.answers.append(Answer("POST", "/datasets", 202, {"id": "ds", "sha256": SHA}, sent_sha256=SHA))
    story.answers.append(Answer("GET", "/datasets/ds/archive", 200, read_sha256=SHA))
    return story


def test_a_history_that_keeps_every_invariant_has_no_violation() -> None:
    assert check(whole().history()) == []


def test_a_job_that_never_ends_is_found() -> None:
    assert "V1" in begun().broken()


def test_an_accepted_job_that_is_not_there_is_found() -> None:
    story = whole()
    story.answers.append(Answer("POST", "/jobs", 202, {"id": "lost"}))
    assert story.broken() == {"V1"}


def test_a_job_that_was_deleted_need_not_be_there() -> None:
    story = whole()
    story.answers.append(Answer("POST", "/jobs", 202, {"id": "gone"}))
    story.answers.append(Answer("DELETE", "/jobs/gone", 204))
    assert story.broken() == set()


def test_a_job_that_ends_twice_is_found() -> None:
    story = begun()
    story.end(2, "failed", "failed", error={"code": "x", "detail": "y"})
    story.update("jobs", "j", status="queued")
    attempt = story.claim()
    story.delete("epochs", "1")
    story.epoch(1, attempt)
    story.succeed(attempt)
    assert story.broken() == {"V1"}
    story.answers.append(Answer("POST", "/jobs/j/retry", 202, {"id": "j"}))
    assert story.broken() == set()


def test_a_dataset_that_is_never_read_to_its_end_is_found() -> None:
    story = whole()
    story.update("datasets", "ds", status="processing")
    assert story.broken() == {"V1"}
    story.update("datasets", "ds", status="ready")
    assert story.broken() == set()


def test_a_transition_that_does_not_exist_is_found() -> None:
    story = whole()
    story.update("jobs", "j", status="queued")
    story.update("jobs", "j", status="succeeded")
    assert "V1" in story.broken()


def test_two_resources_of_one_idempotency_key_are_found() -> None:
    story = whole()
    story.answers.append(Answer("POST", "/datasets", 202, {"id": "one"}, key="same"))
    story.answers.append(Answer("POST", "/datasets", 202, {"id": "two"}, key="same"))
    assert story.broken() == {"V1"}


def test_predictions_of_one_key_make_no_resource() -> None:
    story = whole()
    story.answers += [replace(PREDICTED, key="p")] * 2
    assert story.broken() == set()


def test_an_epoch_of_an_older_attempt_is_found() -> None:
    story = begun()
    story.epoch(2, 1)
    story.succeed(2)
    assert story.broken() == {"V2"}


def test_a_checkpoint_of_an_older_attempt_is_found() -> None:
    story = begun()
    story.checkpoint(3, 1)
    story.epoch(2, 2)
    story.succeed(2)
    assert story.broken() == {"V2"}


def test_a_checkpoint_written_after_the_end_is_found() -> None:
    story = whole()
    story.checkpoint(3, 2)
    assert story.broken() == {"V2"}


def test_an_attempt_that_falls_is_found() -> None:
    story = whole()
    story.update("jobs", "j", attempt=1)
    assert "V2" in story.broken()


def test_a_gap_in_the_epochs_is_found() -> None:
    story = begun()
    story.epoch(2, 2)
    story.epoch(4, 2)
    story.succeed(2)
    assert story.broken() == {"V3"}


def test_an_epoch_that_comes_twice_is_found() -> None:
    story = begun()
    story.epoch(2, 2)
    story.epoch(2, 2, loss=0.4)
    story.succeed(2)
    assert story.broken() == {"V3"}


def test_the_same_figures_written_again_are_no_repeat() -> None:
    story = begun()
    story.epoch(2, 2)
    story.epoch(2, 2)
    story.succeed(2)
    assert story.broken() == set()


def test_a_resume_beyond_the_checkpoint_is_found() -> None:
    story = Story()
    story.submit()
    story.claim()
    story.epoch(1, 1)
    story.end(1, "worker_lost", "queued")
    story.claim()
    story.epoch(2, 2)
    story.succeed(2)
    assert story.broken() == {"V3"}


def test_a_success_without_an_epoch_is_found() -> None:
    story = Story()
    story.submit()
    story.succeed(story.claim())
    assert story.broken() == {"V3"}


@pytest.mark.parametrize("stored", [None, Stored(8, SHA), Stored(9, "b" * 64)], ids=["missing", "short", "altered"])
def test_an_artifact_that_is_not_what_was_recorded_is_found(stored: Stored | None) -> None:
    story = whole()
    story.objects = {key: value for key, value in {**story.objects, "m": stored}.items() if value}
    assert "V4" in story.broken()


def test_a_success_without_a_model_is_found() -> None:
    story = whole()
    story.delete("artifacts", "model.onnx")
    del story.objects["m"]
    assert story.broken() == {"V4"}


def test_a_model_that_does_not_answer_is_found() -> None:
    story = whole()
    story.answers.remove(PREDICTED)
    assert story.broken() == {"V4"}


def test_artifacts_of_a_job_that_did_not_succeed_are_found() -> None:
    story = whole()
    story.rows["jobs", "j"]["status"] = "failed"
    story.changes.append(replace(story.changes[-1], table="jobs", before=None, after=story.rows["jobs", "j"]))
    assert "V4" in story.broken()


def evaluated() -> Story:
    """Return a job whose model was looked at on other images, by a second worker after the first was lost."""
    story = whole()
    empty = {"report_key": None, "report_size_bytes": None, "report_sha256": None, "error": None}
    story.insert("evaluations", "e", id="e", job_id="j", status="queued", attempt=0, **empty)
    story.answers.append(Answer("POST", "/jobs/j/evaluate", 202, {"id": "e", "job_id": "j"}))
    story.update("evaluations", "e", status="running", attempt=1)
    story.update("evaluations", "e", status="queued")
    story.update("evaluations", "e", status="running", attempt=2)
    report = {"report_key": "e/a2/report", "report_size_bytes": 9, "report_sha256": SHA}
    story.update("evaluations", "e", status="succeeded", **report)
    story.objects["e/a2/report"] = Stored(9, SHA)
    return story


def test_an_evaluation_that_was_lost_and_made_again_is_no_violation() -> None:
    assert evaluated().broken() == set()


def test_an_accepted_evaluation_that_is_not_there_is_found_unless_it_or_its_job_was_deleted() -> None:
    story = whole()
    story.answers.append(Answer("POST", "/jobs/j/evaluate", 202, {"id": "lost", "job_id": "j"}))
    assert story.broken() == {"V1"}
    story.answers.append(Answer("DELETE", "/evaluations/lost", 204))
    assert story.broken() == set()


@pytest.mark.parametrize("status", ["running", "queued", "failed"])
def test_an_evaluation_that_goes_on_after_its_end_is_found(status: str) -> None:
    story = evaluated()
    story.update("evaluations", "e", status=status, error={"code": "x", "detail": "y"})
    assert "V1" in story.broken()


def test_an_evaluation_that_never_ends_is_found() -> None:
    story = evaluated()
    story.changes.pop()
    assert "V1" in story.broken()


def test_a_report_of_an_older_attempt_is_found() -> None:
    story = evaluated()
    story.objects["e/a1/report"] = story.objects.pop("e/a2/report")
    story.update("evaluations", "e", report_key="e/a1/report")
    assert story.broken() == {"V2"}


def test_an_evaluation_whose_attempt_rises_without_a_claim_is_found() -> None:
    story = evaluated()
    story.objects["e/a3/report"] = story.objects.pop("e/a2/report")
    story.update("evaluations", "e", attempt=3, report_key="e/a3/report")
    assert story.broken() == {"V2"}


def test_an_evaluation_that_fails_without_a_reason_is_found() -> None:
    story = evaluated()
    story.rows["evaluations", "e"]["status"] = "running"
    story.update("evaluations", "e", status="failed")
    assert "V8" in story.broken()


@pytest.mark.parametrize("stored", [Stored(8, SHA), Stored(9, "b" * 64)], ids=["short", "altered"])
def test_a_report_that_is_not_what_was_recorded_is_found(stored: Stored) -> None:
    story = evaluated()
    story.objects["e/a2/report"] = stored
    assert story.broken() == {"V4"}


@pytest.mark.parametrize("key", ["d", "m"])
def test_a_row_that_points_at_nothing_is_found(key: str) -> None:
    story = whole()
    del story.objects[key]
    assert "V5" in story.broken()


def test_an_object_that_no_row_names_is_found() -> None:
    story = whole()
    story.objects["orphan"] = Stored(1, SHA)
    assert story.broken() == {"V5"}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda one: replace(one, read_sha256="b" * 64) if one.read_sha256 else one,
        lambda one: replace(one, path="/datasets/other/archive") if one.read_sha256 else one,
        lambda one: replace(one, body={"id": "ds", "sha256": "b" * 64}) if one.sent_sha256 else one,
    ],
    ids=["altered", "never read", "misnamed"],
)
def test_an_upload_that_is_not_kept_is_found(spoil: Callable[[Answer], Answer]) -> None:
    story = whole()
    story.answers = [spoil(answer) for answer in story.answers]
    assert story.broken() == {"V6"}


def test_a_rejected_archive_is_not_to_be_kept() -> None:
    story = whole()
    story.update("datasets", "ds", status="rejected")
    assert story.broken() == {"V5"}
    del story.objects["d"]
    story.answers = [answer for answer in story.answers if answer.read_sha256 is None]
    assert story.broken() == set()


def test_a_failure_without_a_reason_is_found() -> None:
    story = begun()
    story.end(2, "failed", "failed", error=None)
    assert story.broken() == {"V8"}


def test_more_lost_attempts_than_are_allowed_are_found() -> None:
    story = begun()
    story.end(2, "stalled", "failed", error={"code": "stalled", "detail": "y"}, attempts_lost=4)
    assert story.broken() == {"V8"}


def test_a_success_after_a_cancellation_is_found() -> None:
    story = begun()
    story.answers.append(Answer("POST", "/jobs/j/cancel", 202, {"id": "j", "status": "cancelled"}))
    story.end(2, "cancelled", "cancelled")
    assert story.broken() == set()
    story.update("jobs", "j", status="succeeded")
    assert "V10" in story.broken()


def test_a_cancellation_that_was_answered_and_not_written_is_found() -> None:
    story = whole()
    story.answers.append(Answer("POST", "/jobs/j/cancel", 202, {"id": "j", "status": "cancelled"}))
    assert story.broken() == {"V10"}


def test_a_cancellation_that_was_answered_with_another_status_is_found() -> None:
    story = begun()
    story.end(2, "cancelled", "cancelled")
    story.answers.append(Answer("POST", "/jobs/j/cancel", 202, {"id": "j", "status": "running"}))
    assert story.broken() == {"V10"}


@pytest.mark.parametrize("status", [500, 502])
def test_a_server_error_is_found(status: int) -> None:
    story = whole()
    story.answers.append(Answer("GET", "/jobs", status))
    assert story.broken() == {"V11"}


@pytest.mark.parametrize("status", [HUNG, 200])
def test_a_request_that_nobody_answered_in_time_is_found(status: int) -> None:
    story = whole()
    story.answers.append(Answer("GET", "/jobs", status, asked_at=1.0, answered_at=16.0))
    assert story.broken() == {"V11"}


@pytest.mark.parametrize(
    ("absences", "seconds"),
    [
        ([(90.0, 100.0), (140.0, 150.0)], 40.0),
        ([(90.0, 110.0), (130.0, 150.0)], 20.0),
        ([(110.0, 120.0), (105.0, 115.0), (112.0, 114.0)], 25.0),
        ([(0.0, 200.0)], 0.0),
    ],
)
def test_an_absent_api_is_not_silent(absences: list[tuple[float, float]], seconds: float) -> None:
    answer = Answer("GET", "/jobs", HUNG, asked_at=100.0, answered_at=140.0)
    history = History(whole().changes, [PREDICTED, answer], whole().objects, absences)
    assert history.silence(answer) == seconds
    assert {violation.invariant for violation in check(history)} == ({"V11"} if seconds else set())


def test_a_503_must_say_when_to_come_again() -> None:
    story = whole()
    story.answers.append(Answer("GET", "/jobs", 503, retry_after="1"))
    assert story.broken() == set()
    story.answers.append(Answer("GET", "/jobs", 503))
    assert story.broken() == {"V11"}


def test_an_attempt_without_an_end_is_found() -> None:
    story = whole()
    story.update("job_attempts", "1", end=None)
    assert "V13" in story.broken()


def test_an_attempt_without_a_row_is_found() -> None:
    story = whole()
    story.delete("job_attempts", "1")
    assert story.broken() == {"V13"}


@pytest.mark.parametrize("end", ["stalled", "because"])
def test_an_end_that_is_written_anew_is_found(end: str) -> None:
    story = whole()
    story.update("job_attempts", "1", end=end)
    assert story.broken() == {"V13"}


def test_a_last_attempt_that_disagrees_with_the_job_is_found() -> None:
    story = begun()
    story.epoch(2, 2)
    story.succeed(2)
    story.update("job_attempts", "2", end="failed")
    assert story.broken() == {"V13"}
