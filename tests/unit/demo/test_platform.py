import signal
import sys

import pytest
from command_lines import children_with

from demo.platform import PlatformError, keep_logs, last_words, running_platform

# Says its settings, then waits to be interrupted.
WAITING = """
import os, sys, time
print({name: value for name, value in os.environ.items() if name.startswith("LENET_")}, flush=True)
try:
    time.sleep(60)
except KeyboardInterrupt:
    print("stopped", flush=True)
"""


def python(program):
    return [sys.executable, "-c", program]


def has_printed(folder):
    return lambda _platform: "LENET_" in last_words(folder)


def test_a_platform_is_started_with_settings_of_its_own_and_interrupted_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setenv("LENET_DATABASE_URL", "postgresql://production")
    ours = {"LENET_LEASE_SECONDS": "5"}
    with running_platform(tmp_path, settings=ours, command=python(WAITING), is_ready=has_printed(tmp_path)) as platform:
        said = last_words(tmp_path)
        assert platform.key in said
        assert platform.url.rpartition(":")[2] in said
        assert str(tmp_path / "data") in said
        assert "production" not in said
        assert "'LENET_LEASE_SECONDS': '5'" in said
    assert "stopped" in last_words(tmp_path)
    assert not children_with(WAITING)


def test_a_platform_is_stopped_when_the_demo_fails(tmp_path):
    with (
        pytest.raises(RuntimeError, match="the demo"),
        running_platform(tmp_path, command=python(WAITING), is_ready=has_printed(tmp_path)),
    ):
        raise RuntimeError("the demo fails")
    assert "stopped" in last_words(tmp_path)


def test_a_platform_that_ends_before_it_answers_has_the_last_word(tmp_path):
    command = python("print('error: no Redis'); raise SystemExit(2)")
    with (
        pytest.raises(PlatformError, match=r"status 2(.|\n)*no Redis"),
        running_platform(tmp_path, command=command, is_ready=lambda _: False),
    ):
        pass


def test_a_platform_that_never_answers_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("demo.platform.START_SECONDS", 0.0)
    with (
        pytest.raises(PlatformError, match="did not answer"),
        running_platform(tmp_path, command=python(WAITING), is_ready=lambda _: False),
    ):
        pass


def _children_that_wait():
    """Return the platforms of these tests; other tests of the same process may have left servers of their own."""
    return children_with(WAITING)


def test_a_platform_that_ignores_every_signal_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("demo.platform.STOP_SECONDS", 0.2)
    deaf = "import signal; [signal.signal(s, signal.SIG_IGN) for s in (signal.SIGINT, signal.SIGTERM)]\n" + WAITING
    with running_platform(tmp_path, command=python(deaf), is_ready=has_printed(tmp_path)):
        (child,) = _children_that_wait()
    assert not child.is_running()


def test_a_platform_that_was_started_to_ignore_ctrl_c_is_stopped_too(tmp_path):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with running_platform(tmp_path, command=python(WAITING), is_ready=has_printed(tmp_path)):
            (child,) = _children_that_wait()
        assert not child.is_running()
    finally:
        signal.signal(signal.SIGINT, before)


def test_every_log_is_kept(tmp_path):
    (tmp_path / "data/logs").mkdir(parents=True)
    (tmp_path / "data/logs/api.log").write_text("api")
    (tmp_path / "platform.log").write_text("up")
    kept = keep_logs(tmp_path, tmp_path / "kept")
    assert [(path.name, path.read_text()) for path in kept] == [("platform.log", "up"), ("api.log", "api")]


def test_without_logs_no_folder_is_made(tmp_path):
    assert keep_logs(tmp_path, tmp_path / "kept") == []
    assert not (tmp_path / "kept").exists()


def test_what_was_not_started_has_no_last_words(tmp_path):
    assert last_words(tmp_path) == ""
