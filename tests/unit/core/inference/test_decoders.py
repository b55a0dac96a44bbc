import gc
import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import structlog
from command_lines import children_with
from PIL import Image
from reading import read_arrays, read_one

from core.datasets.images import read_array
from core.errors import InvalidError, UnavailableError
from core.inference import decoders as module
from core.inference.decoders import ImageDecoders

ROOT = Path(__file__).parents[4]
WANTED = {"image_size": 28, "color_mode": "rgb", "max_pixels": 100_000}
PIXELS = bytes(28 * 28 * 3)


@pytest.fixture
def make_decoders():
    """Return a function that makes decoders, which are ended with the test."""
    made = []

    def make(*, processes=1, timeout_seconds=60.0):
        made.append(ImageDecoders(processes=processes, memory_bytes=2**30, timeout_seconds=timeout_seconds))
        return made[-1]

    yield make
    for decoders in made:
        decoders.close()


def say(words, behind=b""):
    """Return what a decoder says: JSON after its length, and what stands behind it."""
    return len(words).to_bytes(4, "big") + words.encode() + behind


@pytest.fixture
def stand_in(monkeypatch):
    """Return a function that has another program run in the decoder's place; it has said that it is ready."""
    popen = subprocess.Popen
    hello = "import os, time\nos.write(0, b'\\0\\0\\0\\2{}')\n"

    def replace(code):
        def start(_command, **options):
            return popen([sys.executable, "-c", hello + code], **options)

        monkeypatch.setattr(subprocess, "Popen", start)

    return replace


def children():
    return children_with("core.inference.decoder")


def encode(pixels, kind="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("color_mode", ["grayscale", "rgb"])
def test_pixels_are_those_of_the_training_to_the_bit(color_mode, make_decoders):
    draw, read = np.random.default_rng(0), make_decoders().reader()
    wanted = WANTED | {"color_mode": color_mode}
    for size, kind in (((28, 28), "PNG"), ((300, 200, 3), "JPEG"), ((90, 90, 4), "WEBP"), ((5, 9, 3), "TIFF")):
        data = encode(draw.integers(0, 256, size, np.uint8), kind)
        np.testing.assert_array_equal(read_one(read, data, **wanted), read_array(data, **wanted))


def test_refusals_are_those_of_the_reader_and_cost_no_process(make_decoders):
    read = make_decoders().reader()
    for data, code in ((b"no image", "unreadable_image"), (encode(np.zeros((400, 400), np.uint8)), "image_too_large")):
        with pytest.raises(InvalidError) as there:
            read_one(read, data, **WANTED)
        with pytest.raises(InvalidError) as here:
            read_array(data, **WANTED)
        assert (there.value.code, there.value.detail) == (here.value.code, here.value.detail)
        assert there.value.code == code
    assert len(children()) == 1


def test_a_refused_image_is_not_kept(make_decoders):
    """Its error would hold it until garbage is looked for, had it a place in the frame that it was raised in."""
    read, data = make_decoders().reader(), b"no image" * 1000
    held = sys.getrefcount(data)
    gc.disable()
    try:
        list(read([data], **WANTED))
        assert sys.getrefcount(data) == held
    finally:
        gc.enable()


def test_a_process_is_kept_for_the_next_image(make_decoders):
    decoders, data = make_decoders(processes=3), encode(np.zeros((28, 28), np.uint8))
    for _ in range(3):
        read_one(decoders.reader(), data, **WANTED)
    assert len(children()) == 1


def test_one_can_be_started_ahead(make_decoders):
    decoders = make_decoders()
    decoders.start_ahead()
    deadline = time.monotonic() + 30
    while not decoders._idle and time.monotonic() < deadline:
        time.sleep(0.01)
    (child,) = children()
    read_one(decoders.reader(), encode(np.zeros((28, 28), np.uint8)), **WANTED)
    assert [one.pid for one in children()] == [child.pid]


def test_a_process_that_died_while_it_was_idle_costs_nobody_an_image(make_decoders):
    read, data = make_decoders().reader(), encode(np.zeros((28, 28), np.uint8))
    read_one(read, data, **WANTED)
    for child in children():
        child.send_signal(signal.SIGKILL)
        child.wait(5)
    assert read_one(read, data, **WANTED).shape == (28, 28, 3)


def test_an_image_that_ends_its_decoder_is_refused_and_the_next_is_read(make_decoders):
    # A55
    decoders = make_decoders()
    with pytest.MonkeyPatch.context() as patch:
        popen = subprocess.Popen
        code = "import os\nos.write(0, b'\\0\\0\\0\\2{}')\nos.read(0, 9)\nos.abort()"
        patch.setattr(subprocess, "Popen", lambda _, **options: popen([sys.executable, "-c", code], **options))
        with pytest.raises(InvalidError, match="ends the decoder") as caught:
            read_one(decoders.reader(), b"x", **WANTED)
    assert caught.value.code == "unreadable_image"
    assert read_one(decoders.reader(), encode(np.zeros((28, 28), np.uint8)), **WANTED).shape == (28, 28, 3)


def test_images_that_take_too_long_are_refused_and_their_decoder_is_ended(make_decoders, stand_in):
    stand_in("time.sleep(60)")
    decoders = make_decoders(timeout_seconds=1.5)
    begun = time.monotonic()
    with pytest.raises(InvalidError, match=r"more than 1\.5 seconds") as caught:
        read_one(decoders.reader(), bytes(2**21), **WANTED)
    assert caught.value.code == "decoding_too_long"
    assert time.monotonic() - begun < 10
    assert decoders._idle == []


def test_a_process_that_has_read_many_images_is_replaced_by_one_that_is_ready(make_decoders, monkeypatch):
    monkeypatch.setattr(module, "_MOST_IMAGES", 2)
    decoders, data = make_decoders(), encode(np.zeros((28, 28), np.uint8))
    read_one(decoders.reader(), data, **WANTED)
    (old,) = decoders._idle
    monkeypatch.setattr(module, "_MOST_IMAGES", 10_000)
    deadline = time.monotonic() + 30
    while old._process.poll() is None and time.monotonic() < deadline:
        read_one(decoders.reader(), data, **WANTED)  # by the old one or the next, and by no third
    assert old._process.poll() is not None
    assert len(children()) == len(decoders._idle) == 1
    assert decoders._idle[0] is not old


def test_the_time_is_that_of_all_images_of_a_request(make_decoders, stand_in):
    answer = say('{"0": {"code": "unreadable_image", "detail": "no"}}', PIXELS)
    stand_in(f"while os.read(0, 65536):\n    time.sleep(0.4)\n    os.write(0, {answer})")
    read, seen = make_decoders(timeout_seconds=1.5).reader(), []
    for _ in range(20):
        with pytest.raises(InvalidError) as caught:
            read_one(read, b"x", **WANTED)
        seen.append(caught.value.code)
    assert seen[0] == "unreadable_image"
    assert seen[-1] == "decoding_too_long"


def test_once_the_time_is_over_no_process_is_started_to_say_so(make_decoders, stand_in, monkeypatch):
    stand_in("time.sleep(60)")
    read = make_decoders(timeout_seconds=0.5).reader()
    with pytest.raises(InvalidError):
        read_one(read, b"x", **WANTED)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a process is started"))
    with pytest.raises(InvalidError) as caught:
        read_one(read, b"x", **WANTED)
    assert caught.value.code == "decoding_too_long"


def test_a_client_that_sends_slowly_does_not_use_up_the_time(make_decoders):
    read = make_decoders(timeout_seconds=5.0).reader()
    for _ in range(2):
        assert read_one(read, encode(np.zeros((28, 28), np.uint8)), **WANTED).shape == (28, 28, 3)
        time.sleep(3.0)
    assert read_one(read, encode(np.zeros((28, 28), np.uint8)), **WANTED).shape == (28, 28, 3)


def test_who_finds_no_free_decoder_in_time_hears_that_all_are_busy(make_decoders, stand_in):
    stand_in("time.sleep(60)")
    decoders = make_decoders(timeout_seconds=2)

    def hold_the_only_one():
        with pytest.raises(InvalidError):
            read_one(decoders.reader(), b"x", **WANTED)

    first = threading.Thread(target=hold_the_only_one)
    first.start()
    time.sleep(0.3)
    decoders._timeout_seconds = 0.2
    with pytest.raises(UnavailableError) as caught:
        read_one(decoders.reader(), b"x", **WANTED)
    assert caught.value.code == "decoders_busy"
    first.join()


@pytest.mark.parametrize(
    "answer",
    [
        say("{}", b"x"),  # too few pixels
        b"\xff\xff\xff\xff",  # more words than it can have
        say('{"0": {}}', PIXELS),  # a refusal without a reason
        say('{"0": []}', PIXELS),
        say('{"0": {"code": "evil", "detail": "no"}}', PIXELS),
        say('{"0": {"code": "unreadable_image", "detail": 1}}', PIXELS),
        say('{"1": {"code": "unreadable_image", "detail": "no"}}', PIXELS),  # of an image that it was not given
        say('{"-1": {"code": "unreadable_image", "detail": "no"}}', PIXELS),
        say('{"x": {"code": "unreadable_image", "detail": "no"}}', PIXELS),
        say("[]", PIXELS),
        say("x", PIXELS),
        b"\0",
    ],
)
def test_a_decoder_that_speaks_out_of_turn_is_not_believed(answer, make_decoders, stand_in):
    stand_in(f"os.read(0, 65536)\nos.write(0, {answer})")
    with pytest.raises(InvalidError, match="ends the decoder"):
        read_one(make_decoders().reader(), b"x", **WANTED)


def test_images_that_are_sent_together_are_answered_in_order(make_decoders):
    draw, read = np.random.default_rng(2), make_decoders().reader()
    files = [encode(draw.integers(0, 256, (28, 28, 3), np.uint8)) for _ in range(100)]
    files[40] = b"no image"
    files[41] = encode(draw.integers(0, 256, (500, 180, 3), np.uint8))  # more than the others of its group together
    found, expected = list(read(files, **WANTED)), list(read_arrays(files, **WANTED))
    assert [index for index, one in enumerate(found) if isinstance(one, InvalidError)] == [40]
    assert found[40].detail == expected[40].detail
    for one, other in zip(found[:40] + found[41:], expected[:40] + expected[41:], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("image_size", [1, 28, 224, 512])
def test_no_side_waits_for_the_other_whatever_the_answers_size(make_decoders, image_size):
    files = [encode(np.full((9, 9), 3 * number, np.uint8)) for number in range(70)]
    found = list(make_decoders().reader()(files, **WANTED | {"image_size": image_size}))
    assert [(one.shape, int(one.max())) for one in found] == [
        ((image_size, image_size, 3), 3 * number) for number in range(70)
    ]


FATAL_OR_NOT = """
import struct
while head := os.read(0, 23):
    files, size, channels = struct.unpack(">HIB", head[:7])
    for _ in range(files):
        if os.read(0, *struct.unpack(">I", os.read(0, 4))) == b"fatal":
            os.abort()
    os.write(0, b"\\0\\0\\0\\2{}" + bytes(files * size * size * channels))
"""


def test_only_the_image_that_ends_the_decoder_is_refused(make_decoders, stand_in):
    stand_in(FATAL_OR_NOT)
    files = [b"good", b"fatal", b"good", b"good", b"fatal", b"fatal", b"good"]
    found = list(make_decoders().reader()(files, **WANTED))
    refused = [index for index, one in enumerate(found) if isinstance(one, InvalidError)]
    assert refused == [1, 4, 5]
    assert all("ends the decoder" in found[index].detail for index in refused)


def test_images_after_one_that_takes_too_long_are_too_late(make_decoders, stand_in):
    stand_in(FATAL_OR_NOT.replace("os.abort()", "time.sleep(60)"))
    found = list(make_decoders(timeout_seconds=1.5).reader()([b"good", b"fatal", b"good"], **WANTED))
    assert [getattr(one, "code", None) for one in found] == [None, "decoding_too_long", "decoding_too_long"]


def test_a_machine_that_can_start_none_is_not_the_images_fault(make_decoders, monkeypatch):
    def fail(*_, **__):
        raise OSError("no more processes")

    monkeypatch.setattr(subprocess, "Popen", fail)
    with pytest.raises(UnavailableError) as caught:
        read_one(make_decoders().reader(), b"x", **WANTED)
    assert caught.value.code == "decoder_unavailable"


def test_a_decoder_that_does_not_start_says_why_in_the_log(make_decoders, monkeypatch):
    popen = subprocess.Popen
    code = "raise SystemExit('no library of that name')"
    monkeypatch.setattr(subprocess, "Popen", lambda _, **options: popen([sys.executable, "-c", code], **options))
    with structlog.testing.capture_logs() as lines, pytest.raises(UnavailableError):
        read_one(make_decoders().reader(), b"x", **WANTED)
    assert "no library of that name" in lines[-1]["stderr"]


# Found by fuzzing: of the first libtiff complains on standard error, of the second Pillow.
NOISY = """
49492a000c0000000000000009000001030001000000020000000101030001000000020000000201030001000000080000000301030001000000050000
00060301000000000001010000
49492a000c0000000000000009000001030001000000020000000101030001000000022000000201030001000000010000000600fe000100000003
000000150105000a0000000000000020010004000100000004000000
"""


def test_an_image_writes_no_line_into_the_log_of_whoever_has_it_decoded(make_decoders):
    # A pipe, as a service's log is: into a file it could not write anyway.
    lines = NOISY.split()
    source, log = os.pipe()
    usual = os.dup(2)
    os.dup2(log, 2)
    try:
        read = make_decoders().reader()
        for data in (bytes.fromhex(lines[0] + lines[1]), bytes.fromhex(lines[2] + lines[3])):
            with pytest.raises(InvalidError, match="cannot be read: it is"):
                read_one(read, data, **WANTED)
        os.write(log, b"end")
    finally:
        os.dup2(usual, 2)
    assert os.read(source, 1000) == b"end"
    for file in (source, log, usual):
        os.close(file)


def test_requests_of_many_threads_share_the_processes(make_decoders):
    decoders, draw = make_decoders(processes=2), np.random.default_rng(1)
    files = [encode(draw.integers(0, 256, (28, 28, 3), np.uint8)) for _ in range(8)]
    found = {}

    def read(number):
        found[number] = read_one(decoders.reader(), files[number], **WANTED)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(children()) <= 2
    for number, pixels in found.items():
        np.testing.assert_array_equal(pixels, read_array(files[number], **WANTED))
    assert len(found) == 8


def test_a_decoder_holds_no_secret_and_little_else(make_decoders, monkeypatch):
    monkeypatch.setenv("LENET_API_KEY", "secret-of-the-platform")
    read_one(make_decoders().reader(), encode(np.zeros((28, 28), np.uint8)), **WANTED)
    (child,) = children()
    assert not any("secret" in text for text in child.environ().values())
    limits = Path(f"/proc/{child.pid}/limits").read_text()
    assert f"Max address space         {2**30}" in limits
    assert "Max file size             0 " in limits
    status = Path(f"/proc/{child.pid}/status").read_text()
    assert "NoNewPrivs:\t1\n" in status
    assert "Seccomp:\t2\n" in status
    assert Path(f"/proc/{child.pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()


_PARENT = """
import time
from core.inference.decoders import ImageDecoders
decoders = ImageDecoders(processes=1, memory_bytes=2**30, timeout_seconds=30)
(found,) = decoders.reader()([b"x"], image_size=8, color_mode="rgb", max_pixels=100)
print(type(found).__name__, flush=True)
time.sleep(60)
"""


def test_decoders_end_with_whoever_started_them():
    with subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, cwd=ROOT) as parent:
        assert parent.stdout.readline() == b"InvalidError\n"
        family = psutil.Process(parent.pid).children(recursive=True)
        assert family
        parent.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []
