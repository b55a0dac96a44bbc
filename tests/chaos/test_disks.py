"""F23, F28-F30: disks that are full, fail, or lose their writers."""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from chaos.caller import ANSWER_SECONDS
from chaos.disks import filled, small_disk
from chaos.platform import ROOT, Platform
from chaos.processes import until
from chaos.servers import Postgres, running_postgres

from core.settings import ENVIRONMENT_PREFIX

_WRITER = """
import sys
from sqlalchemy import text
from core.db.engine import open_engine, open_sessions, transaction
sessions = open_sessions(open_engine(sys.argv[1]))
number = 0
while True:
    with transaction(sessions) as session:
        session.execute(text("INSERT INTO notes VALUES (:writer, :number)"), {"writer": sys.argv[2], "number": number})
    print(number, flush=True)
    number += 1
"""


@pytest.fixture(scope="module")
def platform(open_platform) -> Iterator[Platform]:
    """Return a platform of this module."""
    with open_platform("sqlite") as running:
        yield running


@pytest.fixture
def worker_disk(require, tmp_path: Path) -> Iterator[Path]:
    """Return a folder on a disk of its own with room for 16 KiB and 40 files."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with small_disk(require, folder, "size=16k", "nr_inodes=40"):
        yield folder


def test_a_worker_whose_disk_is_full_says_so_lives_on_and_works_once_there_is_room(
    platform, training, worker_disk
) -> None:
    worker = platform.start_worker(inside=["env", f"{ENVIRONMENT_PREFIX}DATA_DIR={worker_disk}"], wait=True)
    failed = platform.caller.wait(training.submit())
    assert failed["status"] == "failed"
    assert "No space left on device" in failed["error"]["detail"]
    assert not [path for path in (worker_disk / "cache" / "scratch").glob("*/*") if path.is_dir()]
    subprocess.run(["mount", "-o", "remount,size=64m,nr_inodes=4000", worker_disk], check=True)
    training.check(training.submit(), ends=["succeeded"])
    assert worker.lives


@pytest.mark.long
@pytest.mark.parametrize("option", ["size=64m,nr_inodes=12", "size=64m,nr_inodes=4000,ro"], ids=["inodes", "read-only"])
def test_a_disk_that_takes_no_files_fails_the_job_and_not_the_worker(platform, training, worker_disk, option) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m,nr_inodes=4000", worker_disk], check=True)
    worker = platform.start_worker(inside=["env", f"{ENVIRONMENT_PREFIX}DATA_DIR={worker_disk}"], wait=True)
    subprocess.run(["mount", "-o", f"remount,{option}", worker_disk], check=True)
    failed = platform.caller.wait(training.submit())
    assert failed["status"] == "failed"
    assert failed["error"]["detail"]
    subprocess.run(["mount", "-o", "remount,rw,size=64m,nr_inodes=4000", worker_disk], check=True)
    training.check(training.submit(), ends=["succeeded"])
    assert worker.lives


def test_a_full_disk_under_sqlite_refuses_what_it_cannot_keep(open_platform, require, tmp_path, archive, job) -> None:
    with (
        small_disk(require, tmp_path, "size=8m") as disk,
        open_platform(database_url=f"sqlite:///{disk}/lenet.db") as platform,
    ):
        _check_outlives_a_full_disk(platform, disk, archive, job)


def test_a_full_disk_under_postgresql_refuses_what_it_cannot_keep(open_platform, require, archive, job) -> None:
    with running_postgres(require) as server, _on_a_disk_of_its_own(require, server) as disk:
        server.create("chaos")
        with open_platform(database_url=server.url("chaos")) as platform:
            _check_outlives_a_full_disk(platform, disk, archive, job, mend=server.start)


@contextlib.contextmanager
def _on_a_disk_of_its_own(require, server: Postgres) -> Iterator[Path]:
    server.kill()
    server.keep_copy()
    try:
        with small_disk(require, server.folder / "data", "size=160m") as disk:
            server.restore_copy()
            server.start()
            yield disk
            server.kill()
    finally:
        server.restore_copy()


def _check_outlives_a_full_disk(
    platform: Platform, disk: Path, archive: Path, job: dict[str, Any], mend: Callable[[], None] = lambda: None
) -> None:
    """Fill the disk under a job, see a submission refused and reads served, make room and see that nothing is lost."""
    dataset_id = platform.caller.upload(archive)
    platform.start_worker()
    job_id = platform.caller.submit(dataset_id, job)
    until(lambda: platform.caller.epochs(job_id), "the first epoch")
    body = {"dataset_id": dataset_id, "config": {**job, "epochs": 1}}
    began = time.time()
    with filled(disk):
        until(lambda: platform.caller.call("POST", "/jobs", json=body).status == 503, "a submission is refused")
        assert platform.caller.call("GET", f"/jobs/{job_id}").status in (200, 503)
        assert platform.caller.slowest(since=began) < ANSWER_SECONDS
    mend()
    assert platform.caller.wait(job_id)["status"] == "succeeded"
    platform.judge()


@pytest.mark.long
def test_a_redis_whose_disk_is_full_keeps_no_request_waiting(platform, dataset_id, job, require, tmp_path) -> None:
    short = {**job, "epochs": 1}
    with small_disk(require, tmp_path, "size=1m") as disk:
        platform.redis.kill()
        platform.redis = platform.start_redis(dir=str(disk), appendonly="yes", appendfsync="always")
        platform.start_worker(wait=True)
        with filled(disk):
            until(lambda: not _takes_writes(platform), "Redis takes no more")
            job_id = platform.caller.submit(dataset_id, short)
            assert platform.caller.wait(job_id)["status"] == "succeeded"  # Found in SQL.
        if not platform.redis.lives:
            platform.redis = platform.start_redis()
        until(lambda: _takes_writes(platform), "Redis takes writes again")
        job_id = platform.caller.submit(dataset_id, short)
        assert platform.caller.wait(job_id)["status"] == "succeeded"
        platform.redis.kill()
        platform.redis = platform.start_redis()
    platform.judge()


def _takes_writes(platform: Platform) -> bool:
    try:
        return bool(platform.queue.set("note", "x" * 4096))
    except redis.RedisError:
        return False


def test_what_cannot_be_synced_is_not_published(platform, training, require) -> None:
    require(shutil.which("strace") is not None, "strace is not installed")
    worker = platform.start_worker(
        inside=["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "-e", "inject=fsync:error=EIO"]
    )
    job_id = training.submit()
    failed = platform.caller.wait(job_id)
    assert failed["status"] == "failed"
    assert "Input/output error" in failed["error"]["detail"]
    worker.kill(below=True)
    history = platform.history()
    for table in ("checkpoints", "artifacts"):
        assert not [row for row in history.rows(table).values() if row["job_id"] == job_id]
    platform.judge()


@pytest.mark.chaos
@pytest.mark.slow
def test_writers_that_are_killed_in_the_middle_lose_nothing_that_they_were_told_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    with contextlib.closing(sqlite3.connect(path)) as link:
        link.execute("PRAGMA journal_mode=WAL")
        link.execute("CREATE TABLE notes (writer TEXT, number INTEGER)")
    writers = [_start_writer(path, number) for number in range(8)]
    until(lambda: all((tmp_path / f"told-{number}").stat().st_size > 20 for number in range(8)), "all write", 60)
    for writer in writers:
        time.sleep(0.02)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    with contextlib.closing(sqlite3.connect(path)) as link:
        assert link.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        kept = set(link.execute("SELECT writer, number FROM notes"))
    for number in range(8):
        told = (tmp_path / f"told-{number}").read_text().splitlines()
        assert {(str(number), int(line)) for line in told} <= kept


def _start_writer(path: Path, number: int) -> "subprocess.Popen[bytes]":
    with path.with_name(f"told-{number}").open("wb") as told:
        command = [sys.executable, "-c", _WRITER, f"sqlite:///{path}", str(number)]
        return subprocess.Popen(command, stdout=told, env={**os.environ, "PYTHONPATH": str(ROOT)})
