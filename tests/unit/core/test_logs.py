import logging

import pytest
import structlog

from core import logs
from core.settings import Settings

CANARY = "canary-of-the-logs"


@pytest.fixture
def log(capsys):
    """Set the logging up with secrets, and return what reads the lines; the root logger is as before afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def configure(log_format, **settings):
        logs.configure(Settings(log_format=log_format, **settings))
        return lambda: capsys.readouterr().err

    yield configure
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_secret_that_a_library_repeats_is_not_logged(log, form):
    read = log(form, redis_url=f"redis://:{CANARY}@host/0")
    logging.getLogger("library").error("failed with %s", CANARY, exc_info=ValueError(f"redis://:{CANARY}@host/0"))
    lines = read()
    assert CANARY not in lines
    assert lines.count("[hidden]") == 2


def test_a_short_word_is_left_alone(log):
    read = log("console", redis_url="redis://:red@host/0")
    logging.getLogger("library").error("redis is away")
    assert "redis is away" in read()
