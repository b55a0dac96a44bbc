"""The fixtures that other suites stand on give what they promise."""

import psycopg
import redis
from sqlalchemy import create_engine, inspect, make_url, text


def test_redis_is_a_real_server_of_this_session(redis_url):
    with redis.Redis.from_url(redis_url) as client:
        assert client.ping()
        assert client.info("server")["tcp_port"] == make_url(redis_url).port


def test_each_use_of_postgres_is_a_fresh_empty_database(fresh_database):
    with fresh_database() as first, fresh_database() as second:
        _make_table(first)
        assert _tables(first) == ["made"]
        assert _tables(second) == []


def test_a_dropped_postgres_database_is_gone_even_with_a_client_connected(fresh_database, postgres_server):
    with fresh_database() as url:
        engine = create_engine(url)
        link = engine.connect()
    name = make_url(url).database
    admin = make_url(postgres_server).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(admin) as admin_link:
        assert admin_link.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is None
    link.invalidate()
    engine.dispose()


def _make_table(url):
    engine = create_engine(url)
    with engine.begin() as link:
        link.execute(text("CREATE TABLE made (id integer)"))
    engine.dispose()


def _tables(url):
    engine = create_engine(url)
    try:
        return inspect(engine).get_table_names()
    finally:
        engine.dispose()
