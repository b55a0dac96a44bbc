import itertools
import json
from datetime import UTC, datetime

import pytest

from api.events import Follower, follow
from core.db.engine import transaction
from core.domain.quotas import NO_LIMITS, Limits
from core.errors import UnavailableError
from core.services import claims, jobs, progress


def parse(chunks):
    events = []
    for block in b"".join(chunks).decode().split("\n\n"):
        if block and not block.startswith(":"):
            fields = dict(line.split(": ", 1) for line in block.split("\n"))
            events.append((fields["event"], int(fields["id"]), json.loads(fields["data"])))
    return events


def kinds(events):
    return [(kind, data["status"] if kind == "status" else data.get("epoch")) for kind, _, data in events]


@pytest.fixture
def ended(platform):
    """Return a job that was queued, ran two epochs and succeeded."""
    platform.make_job()
    claim = platform.claim()
    platform.add_epoch(claim, 1)
    platform.add_epoch(claim, 2)
    platform.succeed(claim, {})
    return claim.job_id


def test_a_job_that_has_ended_gives_its_whole_history_and_then_the_end(client, ended):
    response = client.get(f"/api/v1/jobs/{ended}/events")
    assert response.status_code == 200
    assert response.mimetype == "text/event-stream"
    assert response.headers["Cache-Control"] == "no-store"
    events = parse([response.data])
    assert kinds(events) == [
        ("status", "queued"),
        ("status", "running"),
        ("epoch", 1),
        ("epoch", 2),
        ("status", "succeeded"),
    ]
    assert all(first < second for (_, first, _), (_, second, _) in itertools.pairwise(events))
    assert events[-1][2]["metrics"]["test_accuracy"] == 0.75


@pytest.mark.parametrize("seen", range(5))
def test_a_client_that_comes_back_misses_nothing(client, ended, seen):
    url = f"/api/v1/jobs/{ended}/events"
    events = parse([client.get(url).data])
    rest = client.get(url, headers={"Last-Event-ID": str(events[seen][1])})
    assert parse([rest.data]) == events[seen + 1 :]


def test_a_client_that_has_seen_the_end_is_told_not_to_come_back(client, ended):
    url = f"/api/v1/jobs/{ended}/events"
    last = parse([client.get(url).data])[-1][1]
    assert client.get(url, headers={"Last-Event-ID": str(last)}).status_code == 204


@pytest.mark.parametrize("strange", ["", "x", "-5", "9" * 40, "١", "1.5"])
def test_an_id_that_is_none_of_ours_begins_anew(client, ended, strange):
    response = client.get(f"/api/v1/jobs/{ended}/events", headers={"Last-Event-ID": strange})
    assert len(parse([response.data])) == 5


class Stage:
    """A clock that the test moves, doing one thing at each sleep."""

    def __init__(self, *acts, seconds=0.5):
        self.acts = list(acts)
        self.now = 0.0
        self.seconds = seconds

    def clock(self):
        return self.now

    def sleep(self, _):
        self.now += self.seconds
        if self.acts:
            self.acts.pop(0)()


def make_follower(platform, job_id, *, limits=NO_LIMITS, last_event_id=None):
    return Follower(platform.sessions, platform.tenant_id, job_id, limits=limits, last_event_id=last_event_id)


def run(platform, job_id, stage, *, serving=lambda: True, last_event_id=None):
    follower = make_follower(platform, job_id, last_event_id=last_event_id)
    return follow(follower, serving=serving, first=follower.look(), sleep=stage.sleep, clock=stage.clock)


def report(platform, claim, batch):
    with transaction(platform.sessions) as session:
        progress.record_progress(session, claim, {"epoch": 1, "batch": batch, "fraction": batch / 10})


def test_a_running_job_is_followed_to_its_end(platform):
    job_id = platform.make_job()
    held = []
    stage = Stage(
        lambda: held.append(platform.claim()),
        lambda: report(platform, held[0], 1),
        lambda: None,
        lambda: report(platform, held[0], 2),
        lambda: platform.add_epoch(held[0], 1),
        lambda: platform.succeed(held[0], {}),
    )
    events = parse(run(platform, job_id, stage))
    assert kinds([event for event in events if event[0] != "progress"]) == [
        ("status", "queued"),
        ("status", "running"),
        ("epoch", 1),
        ("status", "succeeded"),
    ]
    assert [data["progress"]["batch"] for kind, _, data in events if kind == "progress"] == [1, 2, 2]
    numbers = [number for _, number, _ in events]
    assert numbers == sorted(set(numbers))
    assert stage.acts == []


def test_progress_seen_does_not_hide_an_epoch_from_a_client_that_comes_back(platform):
    job_id = platform.make_job()
    claim = platform.claim()
    report(platform, claim, 1)
    first = make_follower(platform, job_id)
    seen = first.look()[-1]
    assert seen.kind == "progress"
    platform.add_epoch(claim, 1)
    again = make_follower(platform, job_id, last_event_id=str(seen.id)).look()
    assert [event.kind for event in again] == ["epoch", "progress"]
    assert again[0].id > seen.id


def test_a_job_that_is_retried_goes_on_after_its_end(platform, client):
    job_id = platform.make_job()
    client.post(f"/api/v1/jobs/{job_id}/cancel")
    seen = parse([client.get(f"/api/v1/jobs/{job_id}/events").data])[-1][1]
    client.post(f"/api/v1/jobs/{job_id}/retry")
    stage = Stage(lambda: client.post(f"/api/v1/jobs/{job_id}/cancel"))
    events = parse(run(platform, job_id, stage, last_event_id=str(seen)))
    assert kinds(events) == [("status", "queued"), ("status", "cancelled")]


def test_a_silent_stream_says_that_it_lives(platform):
    stage = Stage(lambda: None, lambda: None, seconds=16.0)
    stream = run(platform, platform.make_job(), stage)
    assert b"event: status" in next(stream)
    assert next(stream) == b": still here\n\n"


def test_a_stream_ends_after_an_hour(platform):
    assert len(list(run(platform, platform.make_job(), Stage(seconds=600.0)))) < 10


def test_a_stream_ends_with_the_server(platform):
    serving = iter([True, False])
    chunks = list(run(platform, platform.make_job(), Stage(), serving=lambda: next(serving)))
    assert len(chunks) == 1


def test_a_stream_ends_with_the_jobs_deletion(platform):
    job_id = platform.make_job()

    def delete():
        with transaction(platform.sessions) as session:
            jobs.cancel_job(session, platform.tenant_id, job_id, actor="key_test")
            jobs.delete_job(session, platform.tenant_id, job_id)

    assert len(list(run(platform, job_id, Stage(delete)))) == 1


def test_a_stream_outlives_trouble_of_the_database(platform, monkeypatch):
    job_id = platform.make_job()
    look = Follower.look

    def fail(_):
        raise UnavailableError("The database does not answer.")

    def cancel():
        monkeypatch.setattr(Follower, "look", look)
        with transaction(platform.sessions) as session:
            jobs.cancel_job(session, platform.tenant_id, job_id, actor="key_test")

    stage = Stage(lambda: monkeypatch.setattr(Follower, "look", fail), cancel)
    assert kinds(parse(run(platform, job_id, stage))) == [("status", "queued"), ("status", "cancelled")]


def test_streams_are_bounded_and_give_their_place_back(client, ended, ports):
    leave = [ports.streams.enter(), ports.streams.enter()]
    response = client.get(f"/api/v1/jobs/{ended}/events")
    assert (response.status_code, response.get_json()["code"]) == (429, "too_many_requests")
    assert response.headers["Retry-After"]
    leave[0]()
    leave[0]()
    for _ in range(3):
        with client.get(f"/api/v1/jobs/{ended}/events") as stream:
            assert stream.status_code == 200
    with pytest.raises(Exception, match="event streams are open"):
        [ports.streams.enter() for _ in range(2)]


def test_a_job_that_is_held_back_says_why_in_its_events_too(platform):
    (event,) = make_follower(platform, platform.make_job(), limits=Limits(running_jobs=0)).look()
    assert "quota of 0 running jobs" in event.data.status_reason


def test_a_lost_worker_shows_as_a_change_of_status(platform):
    job_id = platform.make_job()
    claim = platform.claim()
    with transaction(platform.sessions) as session:
        claims.lose(session, job_id, 1, end=claims.AttemptEnd.WORKER_LOST, actor="sweeper", detail="silent")
    events = make_follower(platform, claim.job_id).look()
    assert [(event.data.status, event.data.attempt) for event in events] == [
        ("queued", 0),
        ("running", 1),
        ("queued", 1),
    ]


def test_what_happened_within_one_millisecond_keeps_its_order():
    from api.events import _place
    from core.db.rows import EpochRow, JobTransitionRow

    now = datetime.now(UTC)
    started, ended = (JobTransitionRow(at=now, after=after) for after in ("running", "succeeded"))
    epoch = EpochRow(finished_at=now)
    assert sorted([epoch, ended, started], key=_place) == [started, epoch, ended]
