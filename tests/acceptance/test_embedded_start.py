"""The real command, with real processes that are driven, interrupted and killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from command_lines import command_line

from embedded.first_key import FILE_NAME

pytestmark = pytest.mark.acceptance

START_SECONDS = 100
STOP_SECONDS = 60
NAMES = {"api": "api.server", "worker-train": "worker train", "worker-ingest": "worker ingest", "beat": "worker beat"}


def environment(**variables):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LENET_")}
    return {**kept, "LENET_WORKER_SLOTS": "1", **variables}


def command(*arguments):
    return [sys.executable, "-m", "embedded", "up", *map(str, arguments)]


@dataclass
class Platform:
    process: subprocess.Popen
    data: Path
    url: str = ""
    key: str = ""

    def request(self, path, *, body=None, key=None, media_type="application/zip"):
        headers = {"Authorization": f"Bearer {key or self.key}", "Content-Type": media_type}
        request = urllib.request.Request(f"{self.url}{path}", data=body, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
        except OSError as error:
            return 0, str(error).encode()

    def everything(self):
        return psutil.Process(self.process.pid).children(recursive=True)

    def find(self, words):
        return [process for process in self.everything() if words in command_line(process)]

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(STOP_SECONDS)


def read_banner(platform, log):
    deadline = time.monotonic() + START_SECONDS
    while "Ctrl-C" not in log.read_text():
        assert platform.process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    text = log.read_text()
    platform.url = re.search(r"API +(\S+)/api/v1", text)[1]
    platform.key = re.search(r"key +(\S+)", text)[1]


@contextmanager
def running(folder, *arguments):
    log = folder / "console.log"
    with log.open("wb") as console:
        process = subprocess.Popen(
            command("--port", 0, "--data-dir", folder / "data", *arguments),
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    platform = Platform(process, folder / "data")
    try:
        read_banner(platform, log)
        yield platform
    finally:
        if process.poll() is None:
            platform.interrupt()


def refused(*arguments, **variables):
    """Start the platform where it cannot start, and return the one line that it says."""
    ended = subprocess.run(
        command(*arguments),
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    return ended.stderr


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.1)


def is_gone(process):
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    with running(tmp_path_factory.mktemp("platform")) as platform:
        yield platform


def test_the_platform_is_ready_when_it_says_so(platform):
    assert platform.request("/readyz")[0] == 200
    assert platform.request("/docs")[0] == 200


def test_the_printed_key_opens_the_door_and_no_other_does(platform):
    assert platform.request("/api/v1/jobs")[0] == 200
    assert platform.request("/api/v1/jobs", key="lenet_another")[0] == 401
    assert (platform.data / FILE_NAME).read_text().strip() == platform.key
    assert (platform.data / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_a_port_that_is_taken_gets_one_line(platform, tmp_path):
    port = platform.url.rpartition(":")[2]
    assert f"Port {port} of 127.0.0.1 cannot be listened on" in refused("--data-dir", tmp_path, "--port", port)


def test_a_directory_that_is_in_use_gets_one_line(platform):
    line = refused("--data-dir", platform.data, "--port", 0)
    assert f"in use by another start (process {platform.process.pid})" in line


def test_a_redis_that_does_not_answer_gets_one_line_without_its_password(tmp_path, free_port):
    url = f"redis://:secret-word@127.0.0.1:{free_port()}/0"
    line = refused("--data-dir", tmp_path, "--port", 0, LENET_REDIS_URL=url)
    assert "The Redis of LENET_REDIS_URL cannot be used" in line
    assert "secret-word" not in line


@pytest.mark.parametrize("words", ["-server 127.0.0.1:", *NAMES.values()])
def test_what_is_killed_comes_back(platform, words):
    killed = platform.find(words)
    killed[0].kill()

    def is_back():
        # Children of what was killed may answer a little longer.
        return all(map(is_gone, killed)) and platform.find(words) and platform.request("/readyz")[0] == 200

    wait_until(is_back)


def test_ctrl_c_leaves_no_process_and_a_second_start_finds_the_data(tmp_path):
    with running(tmp_path) as platform:
        status, answer = platform.request("/api/v1/datasets?name=kept", body=b"PK\x05\x06" + bytes(18))
        assert status == 202
        dataset = json.loads(answer)["id"]
        everything, key = platform.everything(), platform.key
        assert len(everything) >= len(NAMES) + 2
        assert platform.interrupt() == 0
        assert all(is_gone(process) for process in everything)
    with running(tmp_path) as platform:
        assert platform.key == key
        status, answer = platform.request(f"/api/v1/datasets/{dataset}")
        assert status == 200
        assert json.loads(answer)["name"] == "kept"


def test_a_killed_start_leaves_nothing_running_and_can_be_repeated(tmp_path):
    with running(tmp_path) as platform:
        everything = platform.everything()
        platform.process.kill()
        platform.process.wait()
        wait_until(lambda: all(is_gone(process) for process in everything), seconds=40)
    with running(tmp_path) as platform:
        assert platform.request("/readyz")[0] == 200


def test_ctrl_c_during_the_start_leaves_no_process(tmp_path):
    process = subprocess.Popen(
        command("--port", 0, "--data-dir", tmp_path),
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    wait_until((tmp_path / "logs" / "redis.log").exists)
    everything = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=STOP_SECONDS)
    assert process.returncode == 0
    assert b"The platform is up" not in said
    assert everything
    assert all(is_gone(process) for process in everything)


@pytest.fixture
def with_api(tmp_path):
    """Return the function that starts the platform with another API in place of ours, until it has ended."""

    def start(code, *, ready_seconds=60.0):
        package = tmp_path / "instead" / "api"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "server.py").write_text(code)
        script = (
            f"import sys, embedded.start; embedded.start._READY_SECONDS = {ready_seconds}\n"
            "from embedded.__main__ import main; sys.exit(main(sys.argv[1:]))"
        )
        return subprocess.run(
            [sys.executable, "-c", script, "up", "--port", "0", "--data-dir", tmp_path / "data"],
            cwd=tmp_path,
            env=environment(PYTHONPATH=str(package.parent)),
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )

    return start


def test_a_process_that_keeps_dying_ends_the_start_with_its_last_words(with_api):
    ended = with_api("raise SystemExit('nothing works here')")
    assert ended.returncode == 1
    assert "api ended (exit code 1) 3 times in a row. Its last lines:\n  nothing works here" in ended.stderr
    assert ended.stdout == ""


def test_an_api_that_is_never_ready_ends_the_start_with_its_last_words(with_api):
    ended = with_api("import time; print('waiting for the moon'); time.sleep(600)", ready_seconds=2.0)
    assert ended.returncode == 2
    assert "The API is not ready after 2 s: no answer" in ended.stderr
    assert "waiting for the moon" in ended.stderr
