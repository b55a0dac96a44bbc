"""A48-A57: pictures, in a dataset and to be predicted. The API itself never decodes one."""

import base64
import signal
import struct
import threading
import time
import zlib
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from forgery import pictures
from PIL import Image
from security.offers import GOOD, Offers, pack
from security.visitors import Visitor

SQUARE = 9_459
MEBIBYTE = 2**20
BIG = pictures.png((6_000, 6_000))


@pytest.fixture
def predict(alice, victim):
    """Return a function that has pictures predicted, given as names and bytes, and returns the answer."""

    def ask(*files, **request):
        parts = [("image", (name, content, "image/png")) for name, content in files]
        return alice.call("POST", f"/jobs/{victim.job_id}/predict", files=parts, **request)

    return ask


@pytest.fixture
def refuse(predict):
    """Return a function that has pictures predicted one by one, and fails unless each is refused by its name."""

    def check(reason, **files):
        for name, content in files.items():
            answer = predict((f"{name}.png", content))
            assert (answer.status_code, answer.json()["code"]) == (422, "unreadable_image"), (name, answer.text)
            (fault,) = answer.json()["errors"]
            assert fault["pointer"] == "/image/0"
            assert fault["detail"].startswith(f"{name}.png: "), fault
            assert reason in fault["detail"], fault

    return check


@pytest.fixture
def offers(estate, bob, leaves):
    """Return the uploads of tenant B, which are deleted again; the audit trail alone remembers them."""
    leaves(audit_events=None)
    with Offers(estate, bob) as opened:
        yield opened


@pytest.fixture
def reject(offers):
    """Return a function that fails unless each picture, half of a dataset, has it rejected and is named with why."""

    def check(reason, **files):
        archives = {name: pack({**GOOD, f"train/a/{name}.png": content}) for name, content in files.items()}
        for name, verdict in offers.judge_all(archives).items():
            assert verdict.is_rejected, name
            assert f"train/a/{name}.png: " in verdict.reasons
            assert reason in verdict.reasons, verdict.reasons

    return check


def test_a48_many_pixels_in_few_bytes_are_refused(refuse, reject):
    square = pictures.png((SQUARE, SQUARE))
    assert len(square) < 300_000
    began = time.monotonic()
    refuse("40,000,000 pixels", square=square, wide=pictures.png((65_000, 3_000)))
    assert time.monotonic() - began < 10
    reject("40,000,000 pixels", square=square)


def test_a49_pixels_beyond_every_limit_are_refused(refuse, reject):
    huge = pictures.png((14_000, 14_000))
    lying = pictures.png((8, 8)).replace(struct.pack(">2I", 8, 8), struct.pack(">2I", 2**31 - 1, 2**31 - 1))
    refuse("40,000,000 pixels", huge=huge)
    refuse("", lying=lying, lying_bmp=_lie_in_bmp())
    reject("40,000,000 pixels", huge=huge)


def _lie_in_bmp():
    data = bytearray(pictures.draw(image_format="BMP", mode="RGB"))
    struct.pack_into("<2i", data, 18, 50_000, 50_000)
    return bytes(data)


def test_a50_other_formats_under_a_pictures_name_are_refused(refuse, reject):
    gray = Image.new("L", (16, 16))
    others = {
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF",
        "psd": b"8BPS\0\1" + bytes(6) + b"\0\3\0\0\0\x10\0\0\0\x10\0\x08\0\3" + bytes(40),
        "fits": b"SIMPLE  =                    T".ljust(2880),
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        "pdf": b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\n%%EOF",
        "icns": b"icns\0\0\0\x18ic07\0\0\0\x10" + bytes(8),
        "ppm": pictures.encode(gray, "PPM"),
        "tga": pictures.encode(gray, "TGA"),
        "ico": pictures.encode(gray, "ICO"),
        "jpeg2000": pictures.encode(gray, "JPEG2000"),
        "html": b"<html><script>alert(1)</script>",
        "shell": b"#!/bin/sh\nrm -rf /\n",
    }
    refuse("no PNG, JPEG, BMP, GIF, WebP or TIFF", **others)
    reject("cannot be read", eps=others["eps"], svg=others["svg"])


def test_a51_frames_without_end_are_refused_at_once(refuse, reject):
    animations = {make.__name__: make(10_000) for make in (pictures.gif, pictures.webp, pictures.apng)}
    began = time.process_time()
    refuse("1,000 frames", **animations)
    refuse("circle", looping=pictures.tiff(12))
    reject("1,000 frames", gif=animations["gif"])
    reject("circle", looping=pictures.tiff(12))
    assert time.process_time() - began < 30


def test_a52_a_broken_picture_among_good_ones_is_counted_and_named(offers, predict):
    good = {
        f"train/{name}/{n}.png": pictures.draw(n + 100 * place) for place, name in enumerate("ab") for n in range(20)
    }
    whole = pictures.draw(7, size=(64, 64))
    few = pack({**good, "train/a/broken.png": whole[: len(whole) // 2]})
    many = pack({**good, **{f"train/b/broken{n}.png": whole[: 1000 + n] for n in range(3)}})
    verdicts = offers.judge_all({"few": few, "many": many})
    ready = verdicts["few"].dataset
    assert ready["status"] == "ready"
    assert ready["entries"] == {"accepted": 40, "rejected": 1, "ignored": 0}
    (warning,) = (one for one in ready["warnings"] if one["code"] == "unreadable_image")
    assert (warning["count"], warning["examples"]) == (1, ["train/a/broken.png"])
    assert verdicts["many"].is_rejected
    assert all(f"train/b/broken{n}.png" in verdicts["many"].reasons for n in range(3))
    answer = predict(("good.png", whole), ("broken.png", whole[:500]), ("good2.png", whole), ("none.png", b"x"))
    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == ["/image/1", "/image/3"]


def test_a53_huge_metadata_is_refused_and_odd_modes_become_one_fixed_form(refuse, predict):
    much = bytes(50 * MEBIBYTE)
    refuse("metadata", text=pictures.png(before=[pictures.chunk(b"tEXt", b"k\0" + much)]))
    refuse("metadata", profile=pictures.png(before=[pictures.chunk(b"iCCP", b"k\0\0" + much)]))
    refuse("metadata", exif=pictures.png(before=[pictures.chunk(b"eXIf", much)]))
    refuse("cannot be read", packed_text=_zipped_text(), packed_profile=_zipped_profile())
    colors = Image.fromarray(np.random.default_rng(3).integers(0, 256, (28, 28, 3), np.uint8))
    odd = {
        "cmyk.jpg": pictures.encode(colors.convert("CMYK"), "JPEG"),
        "deep.png": pictures.encode(Image.fromarray((np.arange(784).reshape(28, 28) * 83).astype(np.uint16))),
        "palette.gif": pictures.encode(colors.convert("P"), "GIF"),
        "alpha.webp": pictures.encode(colors.convert("RGBA"), "WEBP"),
        "bits.tif": pictures.encode(colors.convert("1"), "TIFF"),
        "turned.jpg": pictures.encode(
            colors, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"
        ),
    }
    first, second = (predict(*odd.items()) for _ in range(2))
    assert first.status_code == 200
    assert [one["filename"] for one in first.json()["predictions"]] == list(odd)
    assert first.json() == second.json()


def _zipped_text():
    """Return a PNG whose one text unpacks to 100 MB."""
    return pictures.png(before=[pictures.chunk(b"zTXt", b"k\0\0" + pictures.pack_zeros(100 * MEBIBYTE))])


def _zipped_profile():
    """Return a PNG that is cut short behind a profile that unpacks to 100 MB."""
    whole = pictures.png(before=[pictures.chunk(b"iCCP", b"k\0\0" + pictures.pack_zeros(100 * MEBIBYTE))])
    return whole[:-30]


def test_a54_a_picture_that_is_also_a_page_is_stored_and_never_shown(bob, offers):
    page = b"<html><script>alert(document.domain)</script>"
    hybrid = pictures.draw(3, mode="RGB", image_format="JPEG", comment=page) + page
    files = {f"train/{name}/{n}.jpg": hybrid + bytes([n]) for name in "ab" for n in range(2)}
    dataset = offers.judge(pack({**GOOD, **files})).dataset
    assert dataset["status"] == "ready"
    archive = bob.call("GET", f"/datasets/{dataset['id']}/archive")
    assert page in archive.content
    assert archive.headers["content-disposition"].startswith("attachment")
    assert archive.headers["content-type"] == "application/zip"
    preview = bob.call("GET", f"/datasets/{dataset['id']}/preview")
    assert page not in preview.content
    assert preview.headers["content-type"] == "image/png"
    for answer in (archive, preview):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]


def _decoders_of(process):
    """Return the processes below one that decode an image: of the API, and of an archive those that a decoder forks."""
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            command, parents = child.cmdline(), [parent.cmdline() for parent in child.parents()[:1]]
        except psutil.Error:
            continue
        if "core.inference.decoder" in command or any("core.datasets.decoder" in line for line in parents):
            yield child


def _is_confined(process):
    try:
        return "Seccomp:\t2\n" in Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return False


@contextmanager
def _crashing(process):
    """Crash every process that decodes, again and again, as a file would whose decoder has a hole."""
    is_over, crashed = threading.Event(), []

    def crash():
        seen = set()
        while not is_over.wait(0.03):
            for decoder in _decoders_of(process):
                if decoder.pid in seen and decoder.pid not in crashed:
                    with suppress(psutil.Error):
                        decoder.send_signal(signal.SIGSEGV)
                    crashed.append(decoder.pid)
                elif _is_confined(decoder):  # it has started; next time it has had a while to begin with a picture
                    seen.add(decoder.pid)

    thread = threading.Thread(target=crash)
    thread.start()
    try:
        yield crashed
    finally:
        is_over.set()
        thread.join()


def test_a55_a_crash_of_the_decoder_is_the_pictures_end_and_nobody_elses(estate, alice, predict, offers):
    fortress = estate.fortress
    with _crashing(fortress.api) as crashed:
        answer = predict(("crash.png", BIG))
    assert crashed
    assert answer.status_code == 422, answer.text
    assert "ends the decoder" in answer.text
    assert predict(("good.png", pictures.draw())).status_code == 200
    noise = pictures.draw(5, size=(2_000, 2_000), mode="RGB", compress_level=1)
    with _crashing(fortress.ingest) as crashed:
        verdict = offers.judge(pack({f"train/{name}/{n}.png": noise for name in "ab" for n in range(2)}))
    assert crashed
    assert verdict.is_rejected
    assert "ends the decoder" in verdict.reasons
    assert offers.judge(pack(GOOD)).dataset["status"] == "ready"


def test_a55_pictures_that_keep_their_decoder_busy_are_ended_in_time(estate, victim):
    with estate.fortress.another_api(predict_timeout_seconds=1) as root:
        alice = Visitor(root, estate.keys["alice", "train"])
        parts = [("image", (f"{n}.png", BIG, "image/png")) for n in range(60)]
        began = time.monotonic()
        answer = alice.call("POST", f"/jobs/{victim.job_id}/predict", files=parts)
        assert time.monotonic() - began < 30
        assert answer.status_code == 422
        assert "more than 1 seconds" in answer.text
        one = [("image", ("one.png", pictures.draw(), "image/png"))]
        assert alice.call("POST", f"/jobs/{victim.job_id}/predict", files=one).status_code == 200
        alice.close()


def test_a56_odd_pictures_are_predicted_or_refused_by_name(predict, refuse):
    refuse("cannot be read", empty=b"", blank=b"\0" * 100)
    refuse("a side of more than 65,535", line=pictures.png((100_000, 1)), column=pictures.png((1, 100_000)))
    one = predict(("one.png", pictures.png((1, 1))))
    assert one.status_code == 200
    wrong = [(f"{mode}.png", pictures.draw(mode=mode)) for mode in ("RGB", "RGBA", "LA", "L")]
    answer = predict(*wrong)
    assert answer.status_code == 200
    assert [prediction["filename"] for prediction in answer.json()["predictions"]] == [name for name, _ in wrong]


def test_a57_text_and_addresses_are_no_pictures(alice, victim, refuse):
    path = f"/jobs/{victim.job_id}/predict"
    bomb = base64.b64encode(zlib.compress(bytes(MEBIBYTE)) * 100)
    refuse("cannot be read", coded=bomb, uri=b"data:image/png;base64,AAAA", address=b"http://169.254.169.254/latest")
    for body in (
        {"image": "http://127.0.0.1/x.png"},
        {"url": "file:///etc/passwd"},
        {"image": "data:image/png;base64,AA"},
    ):
        assert alice.call("POST", path, json=body).status_code == 415
    assert alice.call("POST", path, data={"url": "http://127.0.0.1/"}).status_code == 415
    for kind in ("image/png", "application/octet-stream", "text/plain"):
        assert alice.call("POST", path, content=pictures.draw(), headers={"Content-Type": kind}).status_code == 415
    form = alice.call("POST", path, files={"url": (None, "http://127.0.0.1/")})
    assert (form.status_code, form.json()["errors"][0]["pointer"]) == (422, "/url")
    text = alice.call("POST", path, files={"image": (None, "http://127.0.0.1/x.png")})
    assert text.status_code == 422
