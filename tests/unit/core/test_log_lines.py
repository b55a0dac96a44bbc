import json
import logging

import pytest

from core import logs
from core.settings import Settings

FORGED = "x\n2026-01-01T00:00:00Z [info] forged\r\x1b[2J\u2028y"


@pytest.fixture(params=["console", "json"])
def form(request):
    import structlog

    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield request.param
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def read_lines(capsys):
    return capsys.readouterr().err.splitlines()


@pytest.fixture
def say(form, capsys):
    """Return a function that logs by a function of ours and gives the lines that came of it."""

    def run(tell):
        logs.configure(Settings(log_format=form))
        tell()
        return read_lines(capsys)

    return run


@pytest.mark.parametrize(
    "tell",
    [
        lambda: logs.get("t").info("request", path=FORGED),
        lambda: logs.get("t").info(FORGED),
        lambda: logs.get("t").info("request", names=[FORGED], more={"a": FORGED}),
        lambda: logging.getLogger("t").warning("a library says %s", FORGED),
    ],
    ids=["value", "event", "nested", "library"],
)
def test_what_is_sent_to_us_stays_on_its_line_and_steers_no_terminal(say, tell):
    (line,) = say(tell)
    assert "\x1b" not in line
    assert "forged" in line


def test_the_text_of_an_error_begins_no_line(say, form):
    def fail():
        try:
            int(FORGED)
        except ValueError:
            logs.get("t").exception("failed")

    lines = say(fail)
    assert not any(line.startswith("2026-01-01") or "\x1b" in line for line in lines)
    assert any("forged" in line for line in lines)
    if form == "json":
        assert "Traceback" in json.loads(lines[0])["exception"]
