import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import structlog
from PIL import Image

from core.datasets.packs import Pack, digest_of
from core.datasets.process import run_build_pack, run_ingest
from core.errors import DatasetRejectedError, UnavailableError
from core.settings import Settings


@pytest.fixture
def output(tmp_path):
    folder = tmp_path / "output"
    folder.mkdir()
    return folder


@pytest.fixture
def stand_in(monkeypatch):
    """Return a function that has another program run in the decoder's place."""

    def replace(code):
        popen = subprocess.Popen

        def start(_command, **options):
            return popen([sys.executable, "-c", code], **options)

        monkeypatch.setattr(subprocess, "Popen", start)

    return replace


def is_gone(pid, seconds=5.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False


def test_ingest_and_other_packs_are_made_in_a_process_of_their_own(make_zip, output, dataset_files):
    archive, seen = make_zip(dataset_files()), []
    result = run_ingest(archive, output, settings=Settings(), image_size=8, on_progress=seen.append)
    assert result.manifest.images.total == 12
    assert (result.digest, result.image_size) == (digest_of(output / "pack"), 8)
    assert seen[-1] <= 1.0
    assert Pack.open(output / "pack").image_size == 8
    digest = run_build_pack(archive, output, image_size=12, color_mode="rgb", settings=Settings())
    assert digest == digest_of(output / "pack")


def test_a_rejection_comes_back_whole(make_zip, output, dataset_files):
    with pytest.raises(DatasetRejectedError) as error:
        run_ingest(make_zip([*dataset_files(), ("../evil.png", b""), ("CON", b"")]), output, settings=Settings())
    assert [fault.pointer for fault in error.value.faults] == ["../evil.png", "CON"]
    assert error.value.code == "archive_rejected"
    assert list(output.iterdir()) == []


def test_it_may_be_started_from_many_threads_at_once(tmp_path, make_zip, dataset_files):
    archive, done = make_zip(dataset_files()), []

    def run(number):
        folder = tmp_path / str(number)
        folder.mkdir()
        done.append(run_ingest(archive, folder, settings=Settings(), processes=1))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 3


def test_the_process_has_no_secrets_and_its_limits_hold(tmp_path, monkeypatch, output, stand_in):
    monkeypatch.setenv("LENET_STORE_SECRET_KEY", "secret-of-the-store")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-cloud")
    stand_in("""
import json, os, resource, sys
from core.datasets import decoder
from core.datasets.limits import ArchiveLimits
request = json.loads(sys.stdin.readline())
print(json.dumps({"unconfined": decoder._confine(request, ArchiveLimits(**request["limits"]))}), flush=True)
names = ("AS", "FSIZE", "NOFILE", "CPU", "CORE")
seen = {name: resource.getrlimit(getattr(resource, "RLIMIT_" + name))[0] for name in names}
seen |= {"nice": os.nice(0), "environment": dict(os.environ), "session": os.getsid(0) == os.getpid()}
open(request["output"] + "/seen", "w").write(json.dumps(seen))
print(json.dumps({"digest": "x"}), flush=True)
sys.stdin.read()
""")
    settings = Settings(archive_max_bytes=2**30, decode_memory_bytes=2**31, worker_nice=7, decode_total_seconds=99)
    run_build_pack(output / "none.zip", output, image_size=8, color_mode="rgb", settings=settings)
    about = json.loads((output / "seen").read_text())
    assert about["AS"] == 2**31
    assert about["FSIZE"] == 5 * 2**30
    assert (about["NOFILE"], about["CPU"], about["CORE"]) == (256, 99, 0)
    assert about["nice"] == min(19, os.nice(0) + 7)
    assert about["session"]
    assert "secret" not in json.dumps(about["environment"])


def test_memory_beyond_the_limit_costs_the_image_not_the_worker(make_zip, output, dataset_files):
    # A48: 36 million pixels take 144 MB and more
    huge = io.BytesIO()
    Image.new("RGB", (6000, 6000)).save(huge, "PNG", compress_level=1)
    files = [*dataset_files(train=15), ("train/cat/huge.png", huge.getvalue())]
    settings = Settings(decode_memory_bytes=2**28)
    manifest = run_ingest(make_zip(files), output, settings=settings, processes=1).manifest
    assert manifest.entries.rejected == 1
    assert manifest.images.total == 34


def test_a_silent_process_is_killed_with_all_that_it_started(tmp_path, output, stand_in):
    # A55
    stand_in(f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open({str(tmp_path / "pid")!r}, "w").write(str(child.pid))
time.sleep(60)
""")
    with pytest.raises(DatasetRejectedError, match="no progress") as error:
        run_ingest(output / "none.zip", output, settings=Settings(decode_timeout_seconds=1.5))
    assert error.value.code == "decoding_stalled"
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_progress_keeps_a_slow_process_alive(output, stand_in):
    stand_in("""
import json, sys, time
for share in range(8):
    print(json.dumps({"progress": share / 8}), flush=True)
    time.sleep(0.3)
print(json.dumps({"digest": "x"}), flush=True)
""")
    digest = run_build_pack(
        output, output, image_size=8, color_mode="rgb", settings=Settings(decode_timeout_seconds=1.0)
    )
    assert digest == "x"


def test_a_process_that_dies_is_told_from_a_bad_archive(output, stand_in):
    stand_in("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(UnavailableError) as error:
        run_ingest(output / "none.zip", output, settings=Settings())
    assert error.value.code == "decoder_lost"


def test_what_the_caller_raises_ends_the_process(tmp_path, output, stand_in):
    stand_in(f"""
import json, os, time
open({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()))
print(json.dumps({{"progress": 0}}), flush=True)
time.sleep(60)
""")

    def give_up(_):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        run_ingest(output / "none.zip", output, settings=Settings(), on_progress=give_up)
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_the_caller_is_asked_twice_a_second_even_in_silence(output, stand_in):
    stand_in("import time; time.sleep(60)")
    asked = []

    def give_up(share):
        asked.append(share)
        raise InterruptedError

    start = time.monotonic()
    with pytest.raises(InterruptedError):
        run_ingest(output / "none.zip", output, settings=Settings(), on_progress=give_up)
    assert asked == [0.0]
    assert time.monotonic() - start < 5


def test_a_full_disk_is_not_the_archives_fault(output, make_zip, dataset_files, monkeypatch):
    full = output / "full"
    full.mkdir()
    (full / "ledger.jsonl").symlink_to("/dev/full")
    with pytest.raises(UnavailableError, match="No space left") as error:
        run_ingest(make_zip(dataset_files()), full, settings=Settings())
    assert error.value.code == "decoder_unavailable"


_CALLER = """
import sys
from pathlib import Path
from core.datasets.process import run_ingest
from core.settings import Settings
def tell(share):
    print("running", flush=True)
run_ingest(Path(sys.argv[1]), Path(sys.argv[2]), settings=Settings(), on_progress=tell)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the parent's death is signalled on Linux alone")
def test_decoding_ends_when_its_caller_is_killed(make_zip, output, image_bytes):
    files = [
        (f"{name}/{n}.bmp", image_bytes(n, size=(900, 900), image_format="BMP")) for name in "ab" for n in range(60)
    ]
    command = [sys.executable, "-c", _CALLER, str(make_zip(files)), str(output)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as caller:
        assert caller.stdout.readline() == b"running\n"
        family = psutil.Process(caller.pid).children(recursive=True)
        assert family
        caller.send_signal(signal.SIGKILL)
    assert all(is_gone(member.pid) for member in family)


def test_decoding_that_goes_on_and_on_is_ended(output, stand_in):
    stand_in("""
import json, time
while True:
    print(json.dumps({"progress": 0.5}), flush=True)
    time.sleep(0.1)
""")
    with pytest.raises(DatasetRejectedError, match="more than 1 seconds") as error:
        run_ingest(output / "none.zip", output, settings=Settings(decode_total_seconds=1.0))
    assert error.value.code == "decoding_too_long"


def test_what_a_machine_does_not_allow_is_logged_once_and_stops_nothing(output, stand_in):
    stand_in("""
import json
print(json.dumps({"unconfined": {"few files": "not on this machine"}}), flush=True)
print(json.dumps({"digest": "x"}), flush=True)
""")
    with structlog.testing.capture_logs() as lines:
        for _ in range(2):
            run_build_pack(output, output, image_size=8, color_mode="rgb", settings=Settings())
    assert [(line["lacks"], line["reason"]) for line in lines] == [("few files", "not on this machine")]
