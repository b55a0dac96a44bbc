import gzip
import io
import random
import struct
import tarfile
import zlib

import pytest

from core.datasets import tar_archive
from core.datasets.archives import read_part
from core.datasets.limits import ArchiveLimits
from core.datasets.tar_archive import gunzip
from core.errors import DatasetRejectedError


def make_tar(files, tar_format=tarfile.GNU_FORMAT, **fields):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as archive:
        for name, content in files:
            about = tarfile.TarInfo(name)
            about.size = len(content)
            for key, value in fields.items():
                setattr(about, key, value)
            archive.addfile(about, io.BytesIO(content))
    return buffer.getvalue()


def read_all(archive):
    with read_part(archive.path, archive.kind, archive.members) as read:
        return [read(member, True) for member in archive.members.rows()]


LONG = "train/" + "long-" * 40 + "/1.png"
FILES = [("./train/cat/1.png", b"abc"), (LONG, b"x" * 700), ("träin/猫.png", b""), ("train/dog/2.png", b"y" * 512)]


@pytest.mark.parametrize("tar_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_regular_files_of_every_form_are_read(tar_format, opened):
    archive = opened(make_tar(FILES, tar_format))
    assert list(archive.members.names) == [name.removeprefix("./") for name, _ in FILES]
    assert read_all(archive) == [content for _, content in FILES]


def test_the_ustar_prefix_belongs_to_the_name(opened):
    name = "a" * 90 + "/" + "b" * 90
    assert list(opened(make_tar([(name, b"x")], tarfile.USTAR_FORMAT)).members.names) == [name]


def test_folders_are_told_from_files(opened, tmp_path):
    (tmp_path / "tree/train/cat").mkdir(parents=True)
    (tmp_path / "tree/train/cat/1.png").write_bytes(b"x")
    with tarfile.open(tmp_path / "tree.tar", "w") as archive:
        archive.add(tmp_path / "tree", arcname=".")
    members = opened(tmp_path / "tree.tar").members
    assert dict(zip(members.names, members.folders.tolist(), strict=True)) == {
        "./": True,
        "train/": True,
        "train/cat/": True,
        "train/cat/1.png": False,
    }


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (tarfile.SYMTYPE, "symbolic link"),
        (tarfile.LNKTYPE, "hard link"),
        (tarfile.CHRTYPE, "device"),
        (tarfile.BLKTYPE, "device"),
        (tarfile.FIFOTYPE, "pipe"),
        (tarfile.GNUTYPE_SPARSE, "sparse"),
        (b"Z", "unknown kind"),
    ],
)
def test_links_devices_and_the_like_are_refused(kind, reason, opened):
    # A32
    with pytest.raises(DatasetRejectedError, match=reason):
        opened(make_tar([("evil", b"")], type=kind))


def test_sparse_files_of_the_pax_form_are_refused(opened):
    # A32
    content = make_tar([("evil", b"x")], tarfile.PAX_FORMAT, pax_headers={"GNU.sparse.major": "1"})
    with pytest.raises(DatasetRejectedError, match="sparse"):
        opened(content)


@pytest.mark.parametrize("name", ["../x.png", "/etc/x.png", "a\\b", "C:/x", "a\nb"])
def test_hostile_names_are_refused(name, opened):
    # A31, A42
    with pytest.raises(DatasetRejectedError, match="name"):
        opened(make_tar([(name, b"")]))


def test_duplicate_names_are_refused(opened):
    # A41
    with pytest.raises(DatasetRejectedError, match="in case only"):
        opened(make_tar([("a.png", b""), ("A.png", b"")]))


def test_invalid_utf8_is_refused(opened):
    # A42
    content = make_tar([("caf\udce9", b"")])
    with pytest.raises(DatasetRejectedError, match="not valid UTF-8"):
        opened(content)


@pytest.mark.parametrize("limits", [{"entries": 2}, {"total_bytes": 1000}, {"entry_bytes": 600}])
def test_limits_hold_for_tar_too(limits, opened):
    # A33, A43
    with pytest.raises(DatasetRejectedError, match="more than"):
        opened(make_tar(FILES), **limits)


def test_a_global_header_may_not_name_all_entries(opened):
    content = make_tar([("a", b"x")], tarfile.PAX_FORMAT)
    headers = tarfile.TarInfo.create_pax_global_header({"path": "evil"})
    with pytest.raises(DatasetRejectedError, match="one name or size"):
        opened(headers + content)
    assert len(opened(tarfile.TarInfo.create_pax_global_header({"comment": "a commit"}) + content).members) == 1


def test_an_extension_header_that_declares_gigabytes_is_refused_unread(opened):
    # A33
    about = tarfile.TarInfo("x")
    about.type, about.size = tarfile.XHDTYPE, 2**33
    with pytest.raises(DatasetRejectedError, match="too long"):
        opened(make_tar([("a", b"")])[:512] + about.tobuf(tarfile.GNU_FORMAT))


def test_broken_extension_headers_are_refused(opened):
    for text in (b"99 path=x\n", b"nonsense", b"12 path=abcd", b"-1 a=b\n"):
        about = tarfile.TarInfo("x")
        about.type, about.size = tarfile.XHDTYPE, len(text)
        with pytest.raises(DatasetRejectedError, match="extension header"):
            opened(about.tobuf() + text.ljust(512, b"\0") + make_tar([("a", b"")]))


@pytest.mark.parametrize("keep", [512, 700, 1536])
def test_truncated_archives_are_refused(keep, opened):
    # A46
    with pytest.raises(DatasetRejectedError, match="cut short"):
        opened(make_tar([("a", b"x" * 600)])[:keep])


def test_damaged_headers_and_data_behind_the_end_are_refused(opened):
    content = bytearray(make_tar([("a", b"x"), ("b", b"y")]))
    with pytest.raises(DatasetRejectedError, match="follows the end"):
        opened(bytes(content) + b"junk")
    content[1024] ^= 1
    with pytest.raises(DatasetRejectedError, match="damaged"):
        opened(bytes(content))


def test_an_archive_without_entries_is_refused(opened):
    with pytest.raises(DatasetRejectedError):
        opened(make_tar([]))
    with pytest.raises(DatasetRejectedError, match="empty"):
        opened(gzip.compress(tarfile.TarInfo.create_pax_global_header({"comment": "x"}) + bytes(1024)))


def test_tar_gz_is_unpacked_and_its_twin_deleted(opened, tmp_path):
    archive = opened(gzip.compress(make_tar(FILES)))
    assert list(archive.members.names)[1] == LONG
    assert not archive.path.exists()


def test_gzip_members_may_follow_one_another_and_padding_is_harmless(tmp_path):
    source, target = tmp_path / "x.gz", tmp_path / "x"
    source.write_bytes(gzip.compress(b"ab" * 100_000) + gzip.compress(b"c") + bytes(100))
    gunzip(source, target, limits=ArchiveLimits(), beat=lambda: None)
    assert target.read_bytes() == b"ab" * 100_000 + b"c"


@pytest.mark.parametrize("change", [lambda data: data[:-9], lambda data: data + b"junk", lambda data: data[:40] + data])
def test_damaged_gzip_is_refused(change, opened):
    # A46
    with pytest.raises(DatasetRejectedError):
        opened(change(gzip.compress(make_tar(FILES))))


@pytest.mark.parametrize("zeros", range(0, 400, 7))
def test_wherever_a_piece_ends_the_next_one_follows(zeros, monkeypatch):
    """What was given may be just as long as a piece when all of the input was read."""
    monkeypatch.setattr(tar_archive, "_PIECE", 50)
    content = bytes(zeros) + random.Random(zeros).randbytes(300)
    packed, stored = zlib.compressobj(9, wbits=-15), zlib.compressobj(0, wbits=-15)
    body = packed.compress(content[:zeros]) + packed.flush(zlib.Z_FULL_FLUSH)
    body += stored.compress(content[zeros:]) + stored.flush()
    whole = gzip.compress(b"")[:10] + body + struct.pack("<II", zlib.crc32(content), len(content))
    assert gzip.decompress(whole) == content
    assert b"".join(tar_archive._inflate(io.BytesIO(whole))) == content


def test_a_gzip_bomb_is_stopped_by_counted_bytes(opened, tmp_path):
    # A33: 30 MB in 30 kB
    bomb = gzip.compress(make_tar([("zeros", bytes(30_000_000))]))
    with pytest.raises(DatasetRejectedError, match="times its size"):
        opened(bomb)
    with pytest.raises(DatasetRejectedError, match="more than 1,000 bytes"):
        opened(bomb, total_bytes=1000, entries=1, ratio=10_000)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive"]
