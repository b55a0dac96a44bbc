"""F27, F39: clients that go away in the middle, API processes that do, and more connections than an API can hold."""

import contextlib
import http.client
import secrets
import socket
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos.caller import ANSWER_SECONDS
from chaos.platform import Platform
from chaos.processes import until

from api.arrivals import GATHERED_BYTES

_MOST_FILES = 256
_FROZEN_SECONDS = 2.0
# More than the kernel keeps of an answer that nobody takes.
_LARGE_BYTES = 16 * 2**20


@pytest.fixture(scope="module")
def platform(open_platform) -> Iterator[Platform]:
    """Return a platform of this module."""
    with open_platform("sqlite") as running:
        yield running


def _dial(platform: Platform) -> socket.socket:
    return socket.create_connection(("127.0.0.1", platform.settings.api_port), timeout=10)


def _head(platform: Platform, method: str, path: str, *, length: int = 0) -> bytes:
    assert platform.settings.api_key is not None
    lines = [
        f"{method} /api/v1{path} HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {platform.settings.api_key.get_secret_value()}",
        "Content-Type: application/zip",
        f"Content-Length: {length}",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99, 1.0], ids=["1 %", "half", "99 %", "all, and no answer read"])
def test_an_upload_that_the_client_drops_leaves_nothing_half(platform, other_archive, share) -> None:
    content = other_archive.read_bytes()
    sent = content[: int(share * len(content))]
    with _dial(platform) as link:
        link.sendall(_head(platform, "POST", "/datasets", length=len(content)) + sent)
        if GATHERED_BYTES <= len(sent) < len(content):
            until(lambda: _parts(platform), "the part of an upload")
    platform.caller.upload(other_archive)
    platform.judge()
    until(lambda: not _parts(platform), "no part of an upload is left")


def _parts(platform: Platform) -> list[Path]:
    """Return what is being written into the store, or was left half written."""
    return list((platform.folder / "data" / "objects" / ".partial").iterdir())


def test_a_download_under_which_the_api_is_killed_is_whole_the_next_time(platform, other_archive) -> None:
    with zipfile.ZipFile(other_archive, "a") as file:
        file.writestr("ballast.bin", secrets.token_bytes(_LARGE_BYTES))
    dataset_id = platform.caller.upload(other_archive)
    with _dial(platform) as link:
        link.sendall(_head(platform, "GET", f"/datasets/{dataset_id}/archive"))
        answer = http.client.HTTPResponse(link)
        answer.begin()
        assert answer.status == 200
        platform.api.kill(below=True)
        with pytest.raises(http.client.IncompleteRead):
            answer.read()
    platform.api = platform.start_api()
    platform.await_api()
    platform.judge()  # It reads every archive back.


def test_an_api_that_is_frozen_or_not_yet_there_is_waited_for(platform) -> None:
    platform.freeze(platform.api, below=True)
    thaw = threading.Timer(_FROZEN_SECONDS, platform.api.thaw, kwargs={"below": True})
    thaw.start()
    frozen = platform.caller.call("GET", "/jobs")
    thaw.join()
    platform.api.kill(below=True)
    platform.api = platform.start_api()
    early = platform.caller.insist("GET", "/jobs")
    history = platform.history()
    for answer in (frozen, early):
        assert answer.status == 200
        assert history.silence(answer) < answer.answered_at - answer.asked_at
    assert frozen.answered_at - frozen.asked_at - history.silence(frozen) > _FROZEN_SECONDS / 2
    platform.judge()


def test_more_idle_connections_than_an_api_may_have_files_do_not_end_it(platform) -> None:
    platform.api.kill(below=True)
    command = ["prlimit", f"--nofile={_MOST_FILES}", sys.executable, "-m", "api.server"]
    platform.api = platform._start("api", command)
    platform.await_api()
    with contextlib.ExitStack() as stack:
        for _ in range(2 * _MOST_FILES):
            stack.enter_context(_dial(platform))
        began = time.time()
        assert platform.caller.call("GET", "/jobs").status == 200
    assert "exited" not in platform.api.log.read_text()
    assert platform.caller.call("GET", "/jobs").status == 200
    assert platform.caller.slowest(since=began) < ANSWER_SECONDS
    platform.replace_api()
    platform.judge()
