"""F36: a checkpoint that is torn, altered, missing or another job's is passed over, and the weights are the same."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chaos.parts import shorten
from chaos.platform import Platform
from chaos.processes import until
from chaos.training import SECOND_EPOCH

from core.storage.wiring import open_store


@pytest.fixture(scope="module")
def platform(open_platform) -> Iterator[Platform]:
    """Return a platform whose store is a folder that can be damaged."""
    with open_platform("sqlite") as running:
        yield running


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


_TOO_FEW, _OTHERS = "not as many as were recorded", "not the bytes that were recorded"
DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (_truncate, _TOO_FEW),
    "bit flipped": (_flip_a_bit, _OTHERS),
    "empty": (lambda path: path.write_bytes(b""), _TOO_FEW),
    "missing": (Path.unlink, "Nothing is stored"),
}


@pytest.mark.parametrize("name", shorten(DAMAGES, short=("bit flipped", "missing")))
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    platform: Platform, dataset_id: str, job: dict[str, Any], weights: str, name: str
) -> None:
    damage, reason = DAMAGES[name]
    job_id = _pause(platform, dataset_id, job)
    newest, _ = _checkpoints(platform, job_id)
    damage(_file(platform, newest))
    platform.caller.act(job_id, "resume")
    # The recorded size and hash tell, before any trainer has to look into the file.
    _check(platform, job_id, weights, passed_over=1, reason=reason)


def test_where_every_checkpoint_is_damaged_the_job_begins_anew(
    platform: Platform, dataset_id: str, job: dict[str, Any], weights: str
) -> None:
    job_id = _resume_from_damage(platform, dataset_id, job)
    _check(platform, job_id, weights, passed_over=2, reason=_TOO_FEW)


def test_what_comes_after_damaged_checkpoints_is_kept(
    platform: Platform, dataset_id: str, job: dict[str, Any], weights: str
) -> None:
    """The damaged ones are of later epochs than those that the job which begins anew writes first."""
    job_id = _resume_from_damage(platform, dataset_id, job)
    until(lambda: platform.caller.job(job_id)["status"] == "running", "the second attempt")
    platform.caller.act(job_id, "pause")
    platform.caller.wait(job_id, statuses=["paused"])
    kept = _checkpoints(platform, job_id)
    assert {row["attempt"] for row in kept} == {2}
    platform.caller.act(job_id, "resume")
    assert platform.caller.wait(job_id)["status"] == "succeeded"
    attempts = platform.caller.get(f"/jobs/{job_id}/attempts")["items"]
    assert [attempt["end"] for attempt in attempts] == ["paused", "paused", "succeeded"]
    assert attempts[2]["resumed_from_epoch"] == kept[0]["epoch"]
    assert attempts[2]["detail"] is None, "nothing was passed over"
    assert platform.caller.weights(job_id) == weights
    platform.judge()


def test_a_checkpoint_of_another_job_is_passed_over(
    platform: Platform, dataset_id: str, job: dict[str, Any], weights: str
) -> None:
    """Its bytes are whole and their hash is the recorded one: only what is in it tells that it is another's."""
    other_id = _pause(platform, dataset_id, {**job, "seed": 8})
    other = _checkpoints(platform, other_id)[0]
    platform.stop_workers()
    job_id = _pause(platform, dataset_id, job)
    own = _checkpoints(platform, job_id)[0]
    _file(platform, own).write_bytes(_file(platform, other).read_bytes())
    statement = "UPDATE checkpoints SET sha256 = :sha256, size_bytes = :size_bytes WHERE key = :key"
    platform.execute(statement, key=own["key"], sha256=other["sha256"], size_bytes=other["size_bytes"])
    platform.caller.act(other_id, "cancel")
    platform.caller.act(job_id, "resume")
    _check(platform, job_id, weights, passed_over=1, reason="the trainer cannot go on from it")


def _pause(platform: Platform, dataset_id: str, job: dict[str, Any]) -> str:
    """Return a job that is paused in the middle of an epoch, with two checkpoints."""
    worker = platform.start_worker(hold_at=SECOND_EPOCH)
    job_id = platform.caller.submit(dataset_id, job)
    until(lambda: worker.reached, "the second epoch")
    platform.caller.act(job_id, "pause")
    worker.release()
    platform.caller.wait(job_id, statuses=["paused"])
    assert len(_checkpoints(platform, job_id)) == 2
    return job_id


def _resume_from_damage(platform: Platform, dataset_id: str, job: dict[str, Any]) -> str:
    """Return a job that was resumed after each of its checkpoints had been damaged."""
    job_id = _pause(platform, dataset_id, job)
    for row in _checkpoints(platform, job_id):
        _truncate(_file(platform, row))
    platform.caller.act(job_id, "resume")
    return job_id


def _checkpoints(platform: Platform, job_id: str) -> list[dict[str, Any]]:
    """Return a job's checkpoints, newest first."""
    rows = [dict(row) for (owner, *_), row in platform.history().rows("checkpoints").items() if owner == job_id]
    return sorted(rows, key=lambda row: (row["epoch"], row["batch"]), reverse=True)


def _file(platform: Platform, checkpoint: dict[str, Any]) -> Path:
    path = open_store(platform.settings).local_path(checkpoint["key"])
    assert path is not None
    return path


def _check(platform: Platform, job_id: str, weights: str, *, passed_over: int, reason: str) -> None:
    assert platform.caller.wait(job_id)["status"] == "succeeded"
    attempts = platform.caller.get(f"/jobs/{job_id}/attempts")["items"]
    assert [attempt["end"] for attempt in attempts] == ["paused", "succeeded"]
    assert attempts[1]["detail"].count("was passed over") == attempts[1]["detail"].count(reason) == passed_over
    assert platform.caller.weights(job_id) == weights
    platform.judge()


def test_a_resume_on_other_threads_is_not_called_exact(
    platform: Platform, dataset_id: str, job: dict[str, Any]
) -> None:
    job_id = _pause(platform, dataset_id, job)
    platform.stop_workers()
    platform.caller.act(job_id, "resume")
    platform.start_worker(inside=["env", "LENET_WORKER_THREADS=2"])
    assert platform.caller.wait(job_id)["status"] == "succeeded"
    attempts = platform.caller.get(f"/jobs/{job_id}/attempts")["items"]
    assert [attempt["end"] for attempt in attempts] == ["paused", "succeeded"]
    assert attempts[1]["exact_resume"] is False
    platform.judge()
