import json
import subprocess

import pytest

VULNERABLE = {"name": "pillow", "version": "9.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["9.1"]}]}
SOUND = {"name": "six", "version": "1.17.0", "vulns": []}


@pytest.fixture
def answer(audit, monkeypatch):
    """Return the function that lets the source of advisories answer, and gives the exit status."""

    def answer(stdout="", stderr="", failure=None):
        def run(*_, **__):
            if failure:
                raise failure
            return subprocess.CompletedProcess([], 1, stdout, stderr)

        monkeypatch.setattr(audit.subprocess, "run", run)
        return audit.main()

    return answer


def test_a_known_vulnerability_fails_the_check(answer, capsys):
    assert answer(json.dumps({"dependencies": [SOUND, VULNERABLE], "fixes": []})) == 1
    assert "pillow 9.0: PYSEC-1, fixed in 9.1" in capsys.readouterr().out


def test_where_nothing_is_known_the_check_passes(answer, capsys):
    assert answer(json.dumps({"dependencies": [SOUND, {"name": "x", "skip_reason": "unknown"}]})) == 0
    assert "0 known vulnerabilities" in capsys.readouterr().out


def test_a_source_that_cannot_be_reached_is_said_and_fails_nothing(answer, capsys):
    assert answer(stderr="Traceback\nConnectionError: no route") == 0
    assert "audit: skipped" in capsys.readouterr().out


def test_a_source_that_never_answers_is_given_up(answer, capsys):
    assert answer(failure=subprocess.TimeoutExpired("pip-audit", 60)) == 0
    assert "none in 60 s" in capsys.readouterr().out


def test_it_asks_for_what_is_locked_and_installs_nothing(audit):
    command = " ".join(audit.command())
    assert "locks/dev.txt" in command
    assert {"--no-deps", "--disable-pip"} <= set(audit.command())
