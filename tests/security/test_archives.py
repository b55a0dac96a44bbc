"""A31-A47: archives. Each is uploaded as any other would be; a rejected one leaves its record and nothing else."""

import io
import json
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib

import pytest
from forgery import bombs
from forgery.pictures import draw
from forgery.zips import Entry
from security.footprint import ESCAPE
from security.offers import GOOD, DiskMeter, Offers, pack, with_good

from core.datasets.process import run_ingest
from core.errors import DatasetRejectedError
from core.settings import Settings

PICTURE = draw(99)
MEBIBYTE = 2**20


@pytest.fixture
def offers(estate, bob, leaves):
    """Return the uploads of tenant B, which are deleted again; the audit trail alone remembers them."""
    leaves(audit_events=None)
    with Offers(estate, bob) as opened:
        yield opened


@pytest.fixture
def reject(offers):
    """Return a function that uploads archives by name, and fails unless each is rejected for the reason it is given."""

    def check(**archives):
        verdicts = offers.judge_all({name: content for name, (content, _) in archives.items()})
        for name, (_, reason) in archives.items():
            assert verdicts[name].is_rejected, name
            assert reason in verdicts[name].reasons, (name, verdicts[name].reasons)
        return verdicts

    return check


def test_a31_a_path_out_of_the_archive_leads_nowhere(reject):
    names = {
        "parent": (f"train/a/../../../{ESCAPE}-1.png", "leads out"),
        "absolute": (f"/tmp/{ESCAPE}-2.png", "absolute"),
        "drive": (f"C:/{ESCAPE}-3.png", "drive letter"),
        "share": (rf"\\host\share\{ESCAPE}-4.png", "back-slash"),
        "backslash": (rf"train\a\..\..\{ESCAPE}-5.png", "back-slash"),
        "here": (f"train/./{ESCAPE}-6.png", "leads out"),
        "twice": (f"train//{ESCAPE}-7.png", "empty part"),
    }
    zips = {name: (with_good(Entry(path, PICTURE)), reason) for name, (path, reason) in names.items()}
    climbing = bombs.as_tar({**GOOD, f"../../{ESCAPE}-8.png": PICTURE})
    rooted = bombs.as_tar({**GOOD, f"/tmp/{ESCAPE}-9.png": PICTURE})
    verdicts = reject(**zips, tar=(climbing, "leads out"), rooted_tar=(rooted, "absolute"))
    assert len(verdicts["parent"].dataset["error"]["errors"]) == 1


def test_a32_links_pipes_and_devices_are_no_entries(reject):
    kinds = {"link": stat.S_IFLNK, "pipe": stat.S_IFIFO, "character": stat.S_IFCHR, "block": stat.S_IFBLK}
    zips = {
        name: (with_good(Entry("train/a/evil.png", b"/etc/passwd", attributes=(kind | 0o777) << 16)), "evil.png")
        for name, kind in kinds.items()
    }
    of_tar = {"symbolic": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "fifo": tarfile.FIFOTYPE, "device": tarfile.CHRTYPE}
    tars = {f"tar_{name}": (bombs.as_tar(GOOD, evil=kind), "evil: the entry is a") for name, kind in of_tar.items()}
    reject(**zips, **tars)


def test_a33_ten_gigabytes_of_zeros_stop_at_the_cap(estate, reject):
    # The real size, 10 GB in 10 MB, in three ways: declared, denied, and as tar.gz, where nothing is declared.
    zeros = bombs.deflate_zeros(10 * 2**30)
    share = bombs.deflate_zeros(63 * MEBIBYTE)
    honest = [Entry(f"train/a/{n}.png", method=8, data=share, size=63 * MEBIBYTE, checksum=0) for n in range(160)]
    scratch = estate.fortress.folder / "data" / "cache" / "scratch"
    with DiskMeter(scratch) as meter:
        reject(
            declared=(with_good(*honest), "times its size"),
            at_once=(with_good(Entry("train/a/z.png", method=8, data=zeros, size=2**32 - 2, checksum=0)), "unpacks to"),
            denied=(
                with_good(Entry("train/a/z.png", method=8, data=zeros, size=1000, checksum=0)),
                "more than the 1,000",
            ),
            streamed=(bombs.gzip_zeros(10 * 2**30), "100 times its size"),
        )
    assert meter.looks > 10
    # What is read at a time, a mebibyte of gzip, is all that may be unpacked beyond the ratio.
    assert meter.most_bytes <= 100 * 2 * MEBIBYTE


def test_a34_entries_that_share_their_bytes_are_refused(reject):
    full, quoted = bombs.overlap_fully(200, MEBIBYTE), bombs.overlap_quoted(200, MEBIBYTE)
    for bomb in (full, quoted):  # they are what they seem: 20 KB that a reader without checks unpacks to 220 MB
        assert len(bomb) < 20_000
        assert sum(entry.file_size for entry in zipfile.ZipFile(io.BytesIO(bomb)).infolist()) > 200_000_000
    small = bombs.overlap_quoted(10, MEBIBYTE)
    reject(
        full=(full, "overlaps another"),
        quoted=(quoted, "overlaps another"),
        below_the_ratio=(small, "overlaps another"),
    )


def test_a35_a_declared_size_is_never_passed(reject):
    packed, checksum = bombs.deflate_zeros(50 * MEBIBYTE), zlib.crc32(bytes(10))
    lies = {
        "ten_bytes": Entry("train/a/z.png", method=8, data=packed, size=10, checksum=checksum),
        "local_header_differs": Entry(
            "train/a/z.png", method=8, data=packed, size=10, local_sizes=(len(packed), 50 * MEBIBYTE), checksum=checksum
        ),
        "nothing": Entry("train/a/z.png", method=8, data=packed, size=0, checksum=0),
        "not_an_image": Entry("train/a/z.txt", method=8, data=packed, size=10, local_sizes=(1, 1), checksum=checksum),
    }
    reasons = {"ten_bytes": "more than the 10", "nothing": "more than the 0"}
    reject(**{name: (with_good(lie), reasons.get(name, "other sizes")) for name, lie in lies.items()})
    long = Entry("train/a/z.png", b"x", method=8, size=500, checksum=0)
    reject(too_long=(with_good(long), "does not unpack to the 500 bytes"))


def test_a36_a_forged_packed_size_reserves_nothing(reject):
    # 160 bytes that claim to have 1.1 GB behind them, and the like.
    forged = pack([Entry("a.png", b"x", packed=0x41000000, size=0x41000000)])
    assert len(forged) < 160
    reject(
        forged=(forged, "reaches into the central directory"),
        most=(with_good(Entry("train/a/z.png", b"x", method=8, packed=2**32 - 2)), "reaches into"),
        deflated=(with_good(Entry("train/a/z.png", b"x", method=8, size=2**31)), "cannot hold"),
        wide=(
            with_good(Entry("train/a/z.png", b"x", size=2**32 - 1, extra=struct.pack("<2HQ", 1, 8, 2**63))),
            "impossible ZIP64 sizes",
        ),
    )


def test_a37_records_that_disagree_are_refused(reject):
    good, other = with_good(), pack({"train/evil/1.png": PICTURE})
    empty_end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0, 0, 0, 0, 0)
    reject(
        zip64_number=(with_good(with_zip64=True, zip64_entries=2), "disagrees with the end record"),
        zip64_place=(with_good(with_zip64=True, zip64_place=4), "does not point"),
        zip64_missing=(with_good(end_start=2**32 - 1), "directory"),
        end_number=(with_good(end_entries=3), "declares 3"),
        end_place=(with_good(end_start=9), "directory"),
        two_ends=(with_good(comment=empty_end), "two end records"),
        before=(with_good(before=b"PK\3\4" + bytes(60)), "before the first entry"),
        after=(good + b"junk", "does not stand at the end"),
        behind=(good + other, ""),
        in_comment=(with_good(comment=other), ""),
        between=(good[:-22] + b"gap" + good[-22:], "directory"),
    )


def test_a38_an_archive_in_an_archive_is_never_opened(offers):
    inner = pack({"train/c/1.png": PICTURE})
    bomb = pack([Entry(f"{n}.zip", method=8, data=bombs.deflate_zeros(MEBIBYTE), size=MEBIBYTE) for n in range(9)])
    nested = with_good(
        Entry("train/a/inner.zip", inner), Entry("train/b/bomb.zip", bomb), Entry("x.tar.gz", b"\x1f\x8b")
    )
    verdicts = offers.judge_all({"nested": nested, "only": pack({"train/a/1.zip": inner, "train/b/2.zip": bomb})})
    dataset = verdicts["nested"].dataset
    assert (dataset["status"], dataset["classes"]) == ("ready", ["a", "b"])
    assert dataset["entries"] == {"accepted": len(GOOD), "rejected": 0, "ignored": 3}
    assert any(warning["code"] == "skipped_file" and warning["count"] == 3 for warning in dataset["warnings"])
    assert verdicts["only"].is_rejected
    assert "no image" in verdicts["only"].reasons


def test_a39_an_encrypted_entry_is_refused(reject):
    flags = {"plain": 1, "strong": 1 | 1 << 6, "masked": 1 << 13}
    reject(
        **{name: (with_good(Entry("train/a/z.png", PICTURE, flags=flag)), "encrypted") for name, flag in flags.items()}
    )


def test_a40_uncommon_compression_is_refused(reject):
    methods = {"shrunk": 1, "deflate64": 9, "bzip2": 12, "lzma": 14, "zstandard": 93, "xz": 95, "aes": 99}
    reject(
        **{
            name: (with_good(Entry("train/a/z.png", PICTURE, method=method)), f"method {method}")
            for name, method in methods.items()
        }
    )


def test_a41_names_that_are_twins_are_refused(reject):
    composed = "train/a/caf\u00e9.png"
    twins = {
        "equal": ("train/a/z.png", "train/a/z.png", "is there twice"),
        "case": ("train/a/z.png", "train/a/Z.png", "in case only"),
        "folder": ("train/a/z.png", "train/A/z.png", "in case only"),
        "form": (composed, unicodedata.normalize("NFD", composed), "in case only"),
    }
    reject(
        **{
            name: (with_good(Entry(one.encode(), PICTURE), Entry(other.encode(), PICTURE)), reason)
            for name, (one, other, reason) in twins.items()
        },
        tar=(bombs.as_tar({**GOOD, "train/a/0.PNG": PICTURE}), "in case only"),
    )


def test_a42_names_that_no_disk_takes_are_refused(reject):
    names = {
        "nul": (b"train/a/z.png\0.exe", "control character"),
        "newline": (b"train/a/z\n.png", "control character"),
        "escape": (b"train/a/\x1b[2J.png", "control character"),
        "device": (b"train/a/CON", "reserved"),
        "device_suffix": (b"train/aux.b/1.png", "reserved"),
        "dot": (b"train/a/z.png.", "ends in a dot"),
        "turned": ("train/a/\u202egnp.exe".encode(), "reading direction"),
        "long": (b"train/a/" + b"z" * 300, "more than 255 bytes"),
        "deep": (b"d/" * 700 + b"z.png", "longer than 1024"),
        "empty": (b"", "empty part"),
    }
    zips = {name: (with_good(Entry(raw, PICTURE)), reason) for name, (raw, reason) in names.items()}
    broken = with_good(Entry(b"train/a/\xff\xfe.png", PICTURE, flags=1 << 11))
    verdicts = reject(**zips, not_utf8=(broken, "not valid UTF-8"))
    for verdict in verdicts.values():
        told = verdict.reasons + json.dumps(verdict.dataset)
        assert not any(unicodedata.category(sign) == "Cc" or sign == "\u202e" for sign in told)


def test_a43_more_entries_than_sixteen_bits_count_and_than_are_allowed(reject):
    wrapped = bytearray(b"".join(bombs.pile_up(65_540)))
    wrapped[-14:-10] = struct.pack("<2H", 4, 4)  # as a reader that ignores the ZIP64 record would count
    claimed = bytearray(with_good(with_zip64=True, zip64_entries=2_000_000, end_entries=0xFFFF))
    reject(
        wrapped=(bytes(wrapped), "disagrees"),
        honest=(b"".join(bombs.pile_up(65_540)), "no image"),
        claimed=(bytes(claimed), "2,000,000 entries, more than 1,100,000"),
        huge_directory=(with_good(end_size=600 * MEBIBYTE), "central directory"),
    )


@pytest.mark.slow
def test_a43_a_million_entries_and_a_directory_of_200_mb_take_bounded_memory(tmp_path):
    # Of the real sizes, read in the real decoding process under a bound that their sum would not fit in.
    settings = Settings(decode_memory_bytes=768 * MEBIBYTE)
    for name, pieces in (
        ("million", bombs.pile_up(1_000_000)),
        ("directory", bombs.pile_up(3_100, comment_bytes=65_500)),
    ):
        path, output = tmp_path / f"{name}.zip", tmp_path / name
        output.mkdir()
        with path.open("wb") as file:
            file.writelines(pieces)
        with pytest.raises(DatasetRejectedError, match="no image"):
            run_ingest(path, output, settings=settings)
        assert list(output.iterdir()) == []
        path.unlink()


def test_a44_nothing_to_learn_from_is_refused_with_the_reason(reject):
    clutter = {"__MACOSX/train/a/._1.png": b"x", "train/a/.DS_Store": b"x", "Thumbs.db": b"x"}
    reject(
        empty=(pack(), "empty"),
        no_image=(pack({"train/a/1.txt": b"x", "train/b/1.txt": b"y"}), "no image"),
        one_class=(pack({f"train/a/{n}.png": draw(n) for n in range(4)}), "the only class"),
        one_each=(pack({f"train/{name}/1.png": draw(n) for n, name in enumerate("abc")}), "one readable image"),
        empty_class=(with_good(Entry("train/c/note.txt", b"x")), "c: the class has no image"),
        clutter=(pack(clutter), "no image"),
        unreadable=(pack(dict.fromkeys(GOOD, b"x")), "cannot be read"),
    )


def test_a45_a_local_header_that_tells_otherwise_is_refused(reject):
    reject(
        name=(with_good(Entry("train/a/z.png", PICTURE, local_name="train/b/z.png")), "another name"),
        way_out=(with_good(Entry("train/a/z.png", PICTURE, local_name="../../..z.png")), "another name"),
        of_no_image=(with_good(Entry("note.txt", b"x", local_name="train/a/z.png")), "another name"),
        method=(with_good(Entry("train/a/z.png", PICTURE, local_method=8)), "another method"),
        encrypted=(with_good(Entry("train/a/z.png", PICTURE, local_flags=1)), "another method"),
        sizes=(with_good(Entry("train/a/z.png", PICTURE, local_sizes=(5, 5))), "other sizes"),
    )


def test_a46_what_is_no_archive_is_refused_by_its_content(nobody, bob, reject, leaves):
    good = with_good()
    reject(
        cut=(good[:-30], "cut short"),
        half=(good[: len(good) // 2], "cut short"),
        rar=(b"Rar!\x1a\x07\1\0" + bytes(600), "a RAR archive"),
        seven=(b"7z\xbc\xaf\x27\x1c" + bytes(600), "a 7z archive"),
        tar_of_nothing=(bombs.as_tar({"note.txt": b"x"}), "no image"),
        cut_tar=(bombs.as_tar(GOOD)[:1500], "cut short"),
        text=(b"hello" * 200, "no archive of a known kind"),
        picture=(PICTURE + bytes(600), "a single picture"),
    )
    empty = bob.call("POST", "/datasets", content=b"", headers={"Content-Type": "application/zip"})
    assert empty.status_code == 422
    assert empty.json()["code"] == "empty_archive"


def test_a47_hostile_class_names_are_data_or_refused_by_a_rule(estate, bob, offers, reject):
    classes = [
        "<script>alert(1)<",
        "=cmd|' 'A0",
        "'; DROP TABLE datasets;--",
        "😀🎉",
        "${jndi:ldap}",
        "{{7*7}}",
        "%s%n",
    ]
    files = {f"train/{name}/{n}.png": draw(10 * place + n) for place, name in enumerate(classes) for n in range(3)}
    dataset = offers.judge(pack(files)).dataset
    assert dataset["status"] == "ready"
    assert dataset["classes"] == sorted(classes)
    assert set(dataset["counts"]["train"]) == set(classes)
    answer = bob.call("GET", f"/datasets/{dataset['id']}")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert {entry["class"] for entry in bob.items(f"/datasets/{dataset['id']}/entries")} == set(classes)
    preview = bob.call("GET", f"/datasets/{dataset['id']}/preview")
    assert preview.headers["content-type"] == "image/png"
    assert preview.content.startswith(b"\x89PNG")
    reject(
        long=(with_good(Entry("train/" + "n" * 10_000 + "/1.png", PICTURE)), "longer than 1024"),
        newline=(with_good(Entry("train/a\nINFO forged/1.png", PICTURE)), "control character"),
    )
    assert "INFO forged" not in {line.strip() for line in estate.fortress.logs().splitlines()}
