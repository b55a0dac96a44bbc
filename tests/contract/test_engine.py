"""What PostgreSQL does with sessions that nobody uses, and what the platform makes of it."""

import time

import psycopg
import pytest
from sqlalchemy import text

from core.db.engine import open_engine, open_sessions, reading, transaction
from core.db.patience import REST_SECONDS
from core.db.wiring import open_database
from core.errors import UnavailableError
from core.settings import Settings


@pytest.fixture
def sessions(postgres_url):
    engine = open_engine(postgres_url)
    yield open_sessions(engine)
    engine.dispose()


def test_every_session_has_bounds_on_its_statements_and_on_its_silence(sessions):
    with transaction(sessions) as session:
        for bound in ("statement_timeout", "idle_in_transaction_session_timeout"):
            assert session.scalar(text(f"SHOW {bound}")) == "15s"


@pytest.mark.parametrize(("lease_seconds", "bound"), [(30, "15s"), (5, "5s")])
def test_no_transaction_stands_still_for_longer_than_a_lease(postgres_url, lease_seconds, bound):
    engine = open_database(Settings(database_url=postgres_url, lease_seconds=lease_seconds))
    with transaction(open_sessions(engine)) as session:
        assert session.scalar(text("SHOW idle_in_transaction_session_timeout")) == bound
    engine.dispose()


def test_a_transaction_that_was_silent_for_too_long_is_undone_and_says_so(sessions):
    with transaction(sessions) as session:
        session.execute(text("CREATE TABLE noted (word text)"))
    with pytest.raises(UnavailableError):
        _fall_silent(sessions)
    with transaction(sessions) as session:
        assert session.scalar(text("SELECT count(*) FROM noted")) == 0


@pytest.mark.parametrize("door", [reading, lambda sessions: transaction(sessions, read_only=True)])
def test_whoever_only_reads_begins_no_transaction_and_the_next_one_does(sessions, door):
    def list_begins(link):
        return {link.execute(text("SELECT now(), pg_backend_pid()")).one() for _ in range(3)}

    with door(sessions) as link:
        reads = list_begins(link)
    with transaction(sessions) as session:
        writes = list_begins(session)
    assert (len(reads), len(writes)) == (3, 1)
    assert {pid for _, pid in reads} == {pid for _, pid in writes}


def _fall_silent(sessions):
    with transaction(sessions) as session:
        session.execute(text("SET LOCAL idle_in_transaction_session_timeout = 100"))
        session.execute(text("INSERT INTO noted VALUES ('x')"))
        time.sleep(0.5)
        session.execute(text("SELECT 1"))


def test_a_statement_that_takes_too_long_is_ended_by_the_server_which_is_still_asked(postgres_url):
    engine = open_engine(postgres_url, patience_seconds=0.2)
    with pytest.raises(UnavailableError), transaction(open_sessions(engine)) as session:
        session.execute(text("SELECT pg_sleep(10)"))
    with transaction(open_sessions(engine)) as session:
        assert session.scalar(text("SELECT 1")) == 1
    engine.dispose()


def test_a_server_that_does_not_even_end_a_statement_is_given_up_and_let_be(postgres_url):
    engine = open_engine(postgres_url, patience_seconds=0.5)
    began = time.monotonic()
    endless = text("SELECT set_config('statement_timeout', '0', true); SELECT pg_sleep(30)")
    with pytest.raises(UnavailableError), transaction(open_sessions(engine)) as session:
        session.execute(endless)
    with pytest.raises(UnavailableError), transaction(open_sessions(engine)) as session:
        session.execute(text("SELECT 1"))
    assert time.monotonic() - began < 15
    time.sleep(REST_SECONDS)
    with transaction(open_sessions(engine)) as session:
        assert session.scalar(text("SELECT 1")) == 1
    engine.dispose()


def test_sessions_that_the_server_has_ended_fail_nobody(postgres_url, sessions):
    with transaction(sessions) as one, transaction(sessions) as other:
        ended = [session.scalar(text("SELECT pg_backend_pid()")) for session in (one, other)]
    with psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True) as link:
        assert all(link.execute("SELECT pg_terminate_backend(%s, 5000)", [pid]).fetchone() == (True,) for pid in ended)
    for _ in range(2):
        with transaction(sessions) as session:
            assert session.scalar(text("SELECT pg_backend_pid()")) not in ended


def test_a_session_that_goes_on_is_used_again_though_the_server_has_said_something(postgres_url, sessions):
    """As a server does that reads its settings anew."""
    with transaction(sessions) as session:
        pid = session.scalar(text("SELECT pg_backend_pid()"))
        session.execute(text("LISTEN news"))
    with psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True) as link:
        link.execute("NOTIFY news")
    with transaction(sessions) as session:
        assert session.scalar(text("SELECT pg_backend_pid()")) == pid


def test_a_database_without_tables_is_not_there_yet(sessions):
    with pytest.raises(UnavailableError), transaction(sessions) as session:
        session.execute(text("SELECT * FROM jobs"))
