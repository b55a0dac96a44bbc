"""Questions to the driver answer as SQLAlchemy would, on both databases, and fail as it would."""

import time
from datetime import UTC, datetime

import psycopg
import pytest
from sqlalchemy import bindparam, literal_column, select, text
from sqlalchemy.exc import DBAPIError

from core.db.engine import database_now, open_engine, open_sessions, reading, transaction
from core.db.migrations import migrate
from core.db.questions import Question
from core.db.rows import ApiKeyRow, JobRow
from core.errors import UnavailableError
from core.services import keys

STATEMENT = select(ApiKeyRow.name, ApiKeyRow.scopes, ApiKeyRow.created_at, ApiKeyRow.expires_at).where(
    ApiKeyRow.name == bindparam("name"), ApiKeyRow.name != "other", ApiKeyRow.created_at <= database_now()
)


@pytest.fixture(params=["sqlite", "postgresql"])
def sessions(request, tmp_path):
    url = f"sqlite:///{tmp_path}/db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    migrate(url)
    engine = open_engine(url)
    sessions = open_sessions(engine)
    with transaction(sessions) as session:
        tenant_id = keys.ensure_tenant(session, "t")
        for name in ("one", "two", "other"):
            expires_at = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC) if name == "two" else None
            keys.create_key(session, tenant_id, name=name, scopes=keys.SCOPES, secret=name, expires_at=expires_at)
    yield sessions
    engine.dispose()


def test_columns_come_as_their_types_say(sessions):
    question = Question(STATEMENT)
    for name in ("one", "two"):
        with reading(sessions) as connection:
            expected = connection.execute(STATEMENT, {"name": name}).one()
        with reading(sessions) as connection:
            assert question.ask(connection, name=name) == tuple(expected)
        with transaction(sessions) as session:
            assert question.ask(session, name=name) == tuple(expected)


def test_where_there_is_no_row_there_is_none(sessions):
    with reading(sessions) as connection:
        assert Question(STATEMENT).ask(connection, name="nobody") is None
        assert Question(STATEMENT).ask(connection, name="other") is None


def test_what_another_transaction_has_written_is_seen_at_once(sessions):
    question = Question(STATEMENT)
    with reading(sessions) as connection:
        assert question.ask(connection, name="new") is None
    with transaction(sessions) as session:
        keys.create_key(session, keys.ensure_tenant(session, "t"), name="new", scopes=["read"], secret="new")
    with reading(sessions) as connection:
        name, scopes, created_at, expires_at = question.ask(connection, name="new")
    assert (name, scopes, expires_at) == ("new", ["read"], None)
    assert created_at.utcoffset() is not None


def test_a_question_leaves_no_transaction_behind(sessions):
    with reading(sessions) as connection:
        Question(STATEMENT).ask(connection, name="one")
    engine = sessions.kw["bind"]
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            idle = (
                "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND pid <> pg_backend_pid()"
            )
            assert connection.scalar(text(idle)) == 0
    with transaction(sessions) as session:
        session.execute(text("DELETE FROM api_keys"))


def test_a_database_without_tables_is_not_there_yet(postgres_url):
    engine = open_engine(postgres_url)
    with pytest.raises(UnavailableError), reading(open_sessions(engine)) as connection:
        Question(select(JobRow.id)).ask(connection)
    engine.dispose()


def test_what_the_database_refuses_is_an_error_of_sqlalchemys(sessions):
    with pytest.raises((DBAPIError, UnavailableError)), reading(sessions) as connection:
        Question(select(literal_column("nothing FROM nowhere"))).ask(connection)
    with reading(sessions) as connection:
        assert Question(STATEMENT).ask(connection, name="one") is not None


def test_one_that_takes_too_long_is_ended_by_the_server_which_is_still_asked(postgres_url):
    engine = open_engine(postgres_url, patience_seconds=0.2)
    with pytest.raises(UnavailableError), reading(open_sessions(engine)) as connection:
        Question(select(literal_column("pg_sleep(10)"))).ask(connection)
    with reading(open_sessions(engine)) as connection:
        assert Question(select(literal_column("1"))).ask(connection) == (1,)
    engine.dispose()


def test_a_server_that_does_not_even_end_one_is_given_up(postgres_url):
    engine = open_engine(postgres_url, patience_seconds=0.5)
    began = time.monotonic()
    with pytest.raises(UnavailableError), reading(open_sessions(engine)) as connection:
        Question(select(literal_column("set_config('statement_timeout', '0', true); SELECT pg_sleep(30)"))).ask(
            connection
        )
    assert time.monotonic() - began < 15
    engine.dispose()


def test_a_connection_that_is_lost_is_not_used_again(postgres_url):
    engine = open_engine(postgres_url)
    sessions, pid = open_sessions(engine), Question(select(literal_column("pg_backend_pid()")))
    ended = []

    def ask_across_an_end():
        with reading(sessions) as connection:
            ended.extend(pid.ask(connection))
            with psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True) as link:
                link.execute("SELECT pg_terminate_backend(%s, 5000)", ended)
            pid.ask(connection)

    with pytest.raises(UnavailableError):
        ask_across_an_end()
    with reading(sessions) as connection:
        assert pid.ask(connection) != tuple(ended)
    engine.dispose()
