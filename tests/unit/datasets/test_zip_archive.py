import stat
import struct
import tempfile
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.datasets import zip_archive, zip_records
from core.datasets.archives import read_part
from core.datasets.limits import ArchiveLimits
from core.datasets.members import DamagedError, StructureError
from core.datasets.zip_archive import read_zip
from core.errors import DatasetRejectedError


def reasons(error):
    return " | ".join(f"{fault.pointer}: {fault.detail}" for fault in error.value.faults)


def read_all(archive):
    with read_part(archive.path, archive.kind, archive.members) as read:
        return [read(member, True) for member in archive.members.rows()]


@pytest.mark.parametrize("method", [0, 8])
def test_members_of_an_honest_zip_are_read(method, opened, zip_bytes, entry):
    contents = [b"", b"a", b"abc" * 5000]
    archive = opened(zip_bytes(*(entry(f"d/{n}.bin", c, method=method) for n, c in enumerate(contents))))
    assert list(archive.members.names) == ["d/0.bin", "d/1.bin", "d/2.bin"]
    assert read_all(archive) == contents


def test_zips_of_pythons_own_module_are_read_streamed_and_large(opened, tmp_path):
    path = tmp_path / "streamed.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/", b"")
        with archive.open("folder/forced64.bin", "w", force_zip64=True) as file:
            file.write(b"content" * 1000)
        archive.writestr("näme.txt", b"x")
    archive = opened(path)
    assert list(archive.members.names) == ["folder/", "folder/forced64.bin", "näme.txt"]
    assert read_all(archive) == [b"", b"content" * 1000, b"x"]
    assert archive.members.folders.tolist() == [True, False, False]


def test_more_than_65535_entries_need_zip64_and_are_read(opened, tmp_path):
    # A43
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(65_600):
            archive.writestr(zipfile.ZipInfo(f"{number}"), b"")
    assert len(opened(path).members) == 65_600


def test_entry_numbers_above_the_limit_are_refused(opened, zip_bytes, entry):
    # A43
    with pytest.raises(DatasetRejectedError) as error:
        opened(zip_bytes(*(entry(f"{n}") for n in range(11))), entries=10)
    assert "11 entries, more than 10" in reasons(error)


def test_a_directory_above_the_limit_is_refused_before_it_is_read(opened, zip_bytes, entry):
    # A43
    with pytest.raises(DatasetRejectedError) as error:
        opened(zip_bytes(entry("a" * 200)), directory_bytes=100)
    assert "central directory has" in reasons(error)


def test_entry_number_that_wrapped_around_is_refused(opened, zip_bytes, entry):
    # A43: 65,536 entries counted in 16 bits
    with pytest.raises(DatasetRejectedError) as error:
        opened(zip_bytes(*(entry(f"{n}") for n in range(5)), count=2))
    assert "has 5 entries and declares 2" in reasons(error)


@pytest.mark.parametrize("name", ["../x.png", "/x.png", "C:\\x.png", "\\\\host\\x", "a\0.png", "CON", "x.", "a" * 300])
def test_hostile_names_are_refused(name, opened, zip_bytes, entry):
    # A31, A42
    with pytest.raises(DatasetRejectedError, match="name"):
        opened(zip_bytes(entry("good.png"), entry(name)))


def test_invalid_utf8_is_refused_where_utf8_is_promised_and_read_as_cp437_elsewhere(opened, zip_bytes, entry):
    # A42
    with pytest.raises(DatasetRejectedError) as error:
        opened(zip_bytes(entry(b"\xff.png", flags=1 << 11)))
    assert "not valid UTF-8" in reasons(error)
    assert list(opened(zip_bytes(entry(b"caf\x82.png"))).members.names) == ["café.png"]
    assert list(opened(zip_bytes(entry("café.png".encode()))).members.names) == ["café.png"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_links_and_devices_are_refused(kind, opened, zip_bytes, entry):
    # A32
    with pytest.raises(DatasetRejectedError) as error:
        opened(zip_bytes(entry("evil.png", b"/etc/passwd", attributes=(kind | 0o777) << 16)))
    assert "evil.png: the entry is a" in reasons(error)


def test_sum_of_declared_sizes_is_bounded(opened, zip_bytes, entry):
    # A33
    with pytest.raises(DatasetRejectedError) as error:
        opened(zip_bytes(*(entry(f"{n}", bytes(50_000), method=8) for n in range(3))), total_bytes=100_000)
    assert "unpacks to more than 100,000 bytes" in reasons(error)


def test_one_huge_entry_is_refused(opened, zip_bytes, entry):
    # A33
    with pytest.raises(DatasetRejectedError) as error:
        opened(zip_bytes(entry("zeros.png", bytes(20_000), method=8)), entry_bytes=10_000)
    assert "zeros.png: unpacks to 20,000 bytes" in reasons(error)


def test_ratio_is_bounded_beyond_a_harmless_size(opened, zip_bytes, entry):
    # A33
    bomb = zip_bytes(entry("zeros.png", bytes(1_000_000), method=8))
    assert len(opened(bomb).members) == 1
    with pytest.raises(DatasetRejectedError) as error:
        opened(bomb, ratio_free_bytes=500_000)
    assert "times its size" in reasons(error)


def test_entries_that_share_bytes_are_refused(opened, zip_bytes, entry):
    # A34: full overlap
    with pytest.raises(DatasetRejectedError) as error:
        opened(zip_bytes(entry("a", b"kernel"), entry("b", b"kernel", start=0)))
    assert "overlaps another" in reasons(error)


def test_quoted_overlap_is_refused(opened, zip_bytes, entry):
    # A34: the second entry's header lies within the first one's data
    inner = zip_bytes(entry("inner.bin", b"k" * 100))[: 30 + 9 + 100]
    with pytest.raises(DatasetRejectedError) as error:
        opened(zip_bytes(entry("outer.bin", inner), entry("inner.bin", b"k" * 100, start=30 + 9)))
    assert "overlaps another" in reasons(error)


def test_overlap_by_the_local_headers_extra_field_is_found_on_reading(opened, zip_bytes, entry):
    # A34: a local extra field longer than the directory knows pushes the data into the next entry
    content = bytearray(zip_bytes(entry("a", b"1234"), entry("b", b"1234")))
    content[28:30] = struct.pack("<H", 3)
    with pytest.raises(StructureError, match="overlaps another"):
        read_all(opened(bytes(content)))


def test_content_longer_than_declared_is_refused_and_not_unpacked(opened, zip_bytes, entry):
    # A35
    archive = opened(zip_bytes(entry("a", bytes(50_000_000), method=8, size=10)))
    with pytest.raises(StructureError, match="more than the 10 bytes"):
        read_all(archive)


def test_content_shorter_than_declared_is_refused(opened, zip_bytes, entry):
    # A35
    with pytest.raises(StructureError, match="does not unpack to"):
        read_all(opened(zip_bytes(entry("a", b"abc", method=8, size=20))))


@pytest.mark.parametrize("packed", [2**31, 0xFFFFFFFE])
def test_forged_packed_size_is_refused_before_anything_is_reserved(packed, opened, zip_bytes, entry):
    # A36
    with pytest.raises(DatasetRejectedError) as error:
        opened(zip_bytes(entry("a", b"abc", method=8, packed=packed)))
    assert "reaches into the central directory" in reasons(error)


def test_size_that_deflate_cannot_reach_is_refused(opened, zip_bytes, entry):
    # A36
    with pytest.raises(DatasetRejectedError) as error:
        opened(zip_bytes(entry("a", b"abc", method=8, size=50_000)))
    assert "cannot hold" in reasons(error)


def test_an_honest_zip64_end_record_is_read(opened, zip_bytes, entry):
    # A37
    content = zip_bytes(entry("a"), with_zip64=True, end_entries=0xFFFF, end_size=0xFFFFFFFF, end_start=0xFFFFFFFF)
    assert list(opened(content).members.names) == ["a"]


@pytest.mark.parametrize(
    "lie", [{"end_entries": 3}, {"end_size": 7}, {"end_start": 9}, {"zip64_entries": 2}, {"zip64_place": 4}]
)
def test_zip64_records_that_disagree_are_refused(lie, opened, zip_bytes, entry):
    # A37
    with pytest.raises(DatasetRejectedError):
        opened(zip_bytes(entry("a"), with_zip64=True, **lie))


def test_markers_without_a_zip64_record_are_refused(opened, zip_bytes, entry):
    # A37
    with pytest.raises(DatasetRejectedError):
        opened(zip_bytes(entry("a"), end_start=0xFFFFFFFF))
    with pytest.raises(DatasetRejectedError) as error:
        opened(zip_bytes(entry("a", b"abc", method=8, size=0xFFFFFFFF)))
    assert "lacks its ZIP64 sizes" in reasons(error)


def test_other_data_before_between_end_and_after_is_refused(opened, zip_bytes, entry):
    # A37
    good = zip_bytes(entry("a"))
    for content in (b"PK\3\4 other data" + good, good + b"junk", good[:-22] + b"gap" + good[-22:]):
        with pytest.raises(DatasetRejectedError):
            opened(content)
    with pytest.raises(DatasetRejectedError) as error:
        opened(zip_bytes(entry("a"), before=b"PK\3\4 this offsets everything"))
    assert "before the first entry" in reasons(error)


def test_a_second_archive_in_the_comment_or_behind_is_refused(opened, zip_bytes, entry):
    # A37
    good, other = zip_bytes(entry("a")), zip_bytes(entry("evil"))
    for content in (zip_bytes(entry("a"), comment=other), good + other):
        with pytest.raises(DatasetRejectedError):
            opened(content)


def test_two_end_records_that_both_reach_the_end_are_refused(opened, zip_bytes, entry):
    # A37: without the check, a reader from the front and one from the back see two archives
    shared = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0, 0, 0, 0, 0)
    with pytest.raises(DatasetRejectedError) as error:
        opened(zip_bytes(entry("a"), comment=shared))
    assert "two end records" in reasons(error)


def test_an_ordinary_comment_is_accepted(opened, zip_bytes, entry):
    assert len(opened(zip_bytes(entry("a"), comment=b"made by hand")).members) == 1


@pytest.mark.parametrize("flag", [1, 1 | 1 << 6, 1 << 13])
def test_encrypted_entries_are_refused(flag, opened, zip_bytes, entry):
    # A39
    with pytest.raises(DatasetRejectedError) as error:
        opened(zip_bytes(entry("a", flags=flag)))
    assert "encrypted" in reasons(error)


@pytest.mark.parametrize("method", [1, 9, 12, 14, 93, 99])
def test_other_methods_are_refused(method, opened, zip_bytes, entry):
    # A40
    with pytest.raises(DatasetRejectedError) as error:
        opened(zip_bytes(entry("a", method=method)))
    assert f"method {method}" in reasons(error)


@pytest.mark.parametrize("twin", ["A.png", "a.PNG", "a.png"])
def test_duplicate_names_and_case_twins_are_refused(twin, opened, zip_bytes, entry):
    # A41
    with pytest.raises(DatasetRejectedError) as error:
        opened(zip_bytes(entry("a.png"), entry("b.png"), entry(twin)))
    assert [fault.pointer for fault in error.value.faults] == [twin]


def test_twins_in_unicodes_forms_are_refused(opened, zip_bytes, entry):
    # A41
    with pytest.raises(DatasetRejectedError):
        opened(zip_bytes(entry("caf\u00e9.png"), entry("cafe\u0301.png")))


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        ({"local_name": "other.png"}, "another name"),
        ({"local_method": 8}, "another method"),
        ({"local_flags": 1}, "another method"),
        ({"local_sizes": (1, 9)}, "other sizes"),
    ],
)
def test_local_headers_that_differ_from_the_directory_are_refused(lie, reason, opened, zip_bytes, entry):
    # A45: whether or not the content is wanted
    archive = opened(zip_bytes(entry("a.png", **lie)))
    with read_part(archive.path, archive.kind, archive.members) as read:
        for wanted in (True, False):
            with pytest.raises(StructureError, match=reason):
                read(archive.members.rows()[0], wanted)


def test_an_entry_without_a_local_header_is_refused(opened, zip_bytes, entry):
    # A45
    content = bytearray(zip_bytes(entry("a", b"1234"), entry("b", b"1234")))
    content[35:36] = b"p"
    with pytest.raises(StructureError, match="no local header"):
        read_all(opened(bytes(content)))


@pytest.mark.parametrize("cut", [1, 10, 22, 30, 60])
def test_truncated_archives_are_refused(cut, opened, zip_bytes, entry):
    # A46
    with pytest.raises(DatasetRejectedError):
        opened(zip_bytes(entry("a", b"1234"))[:-cut])


def test_an_archive_without_entries_is_refused(opened, zip_bytes):
    # A46
    with pytest.raises(DatasetRejectedError, match="empty"):
        opened(zip_bytes())


def test_damage_to_one_content_is_told_from_a_lie(opened, zip_bytes, entry):
    with pytest.raises(DamagedError, match="checksum"):
        read_all(opened(zip_bytes(entry("a", b"abc", checksum=1))))
    with pytest.raises(DamagedError, match="inflated"):
        read_all(opened(zip_bytes(entry("a", b"abc", method=8, data=b"\xff\xff\xff"))))
    with pytest.raises(StructureError, match="behind its content"):
        read_all(opened(zip_bytes(entry("a", b"abc", method=8, data=b"\x03\x00junk", size=0))))


def test_every_fault_is_named_not_only_the_first(opened, zip_bytes, entry):
    with pytest.raises(DatasetRejectedError) as error:
        opened(zip_bytes(entry("../a"), entry("b", flags=1), entry("c", method=12), entry("d/", b"content")))
    assert [fault.pointer for fault in error.value.faults] == ["../a", "b", "c", "d/"]
    assert "3 more faults" in error.value.detail


def test_parts_on_other_disks_are_refused(opened, zip_bytes, entry):
    with pytest.raises(DatasetRejectedError, match="disk"):
        opened(zip_bytes(entry("a", disk=1)))


def test_random_damage_to_the_directory_never_escapes_as_another_error(opened, zip_bytes, entry):
    good = zip_bytes(*(entry(f"d/{n}.bin", b"abc" * n, method=8) for n in range(4)), with_zip64=True)
    for seed in range(300):
        damaged = bytearray(good)
        noise = seed * 2_654_435_761 % 2**32
        damaged[noise % len(damaged)] ^= 1 + noise // len(damaged) % 255
        try:
            read_all(opened(bytes(damaged)))
        except (DatasetRejectedError, StructureError, DamagedError):
            continue


NAMES = [
    "a.png",
    "train/cat/1.png",
    "train/cat/",
    "A.png",
    "CON",
    "con.png",
    "x/aux/1",
    "é.png",
    "a\nb",
    "",
    "a//b",
    "./x",
    "a .",
]
ODDITIES = [
    {},
    {"flags": 1},
    {"flags": 1 << 11},
    {"method": 8},
    {"method": 12},
    {"size": 3},
    {"size": 0xFFFFFFFF},
    {"packed": 2},
    {"disk": 1},
    {"start": 2**31},
    {"start": 0},
    {"attributes": stat.S_IFLNK << 16},
    {"attributes": stat.S_IFREG << 16},
    {"extra": b"\1\0\0\0"},
    {"checksum": 7},
]
drawn_entries = st.tuples(st.sampled_from(NAMES), st.binary(max_size=40), st.sampled_from([{}] * 20 + ODDITIES))


def read_outcome(data, **limits):
    """Return every column of an archive's members, or every fault."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        try:
            members = read_zip(file.fileno(), len(data), limits=ArchiveLimits(**limits), beat=lambda: None)
        except DatasetRejectedError as error:
            return [(fault.pointer, fault.detail) for fault in error.faults]
    return members.rows()


@given(
    drawn=st.lists(drawn_entries, min_size=1, max_size=6),
    is_numbered=st.booleans(),
    block_bytes=st.sampled_from([1, 50, 100, 1 << 20]),
    limits=st.sampled_from([{}, {"entries": 3}, {"entry_bytes": 20}, {"total_bytes": 60}]),
    cut=st.sampled_from([None, -30, 4]),
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_blocks_and_single_records_give_the_same_members_and_faults(
    *, drawn, is_numbered, block_bytes, limits, cut, entry, zip_bytes
):
    entries = [
        entry(f"{number}{name}" if is_numbered else name, content, **oddity)
        for number, (name, content, oddity) in enumerate(drawn)
    ]
    data = zip_bytes(*entries)
    if cut is not None:  # in the directory: a record's signature, or the last one's name
        place = data.rindex(b"PK\1\2") if cut > 0 else data.rindex(b"PK\5\6") + cut
        data = data[:place] + b"?" + data[place + 1 :]
    whole = read_outcome(data, **limits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zip_archive, "_take_plain_block", lambda *_: False)
        assert read_outcome(data, **limits) == whole
        patch.setattr(zip_records, "_BLOCK", block_bytes)
        assert read_outcome(data, **limits) == whole


def test_ordinary_entries_are_taken_a_block_at_a_time(monkeypatch, opened, zip_bytes, entry):
    monkeypatch.setattr(zip_archive, "_take_record", None)
    names = ["train/cat/", "train/cat/1.png", "train/dog/IMG 2 (3).JPG"]
    archive = opened(zip_bytes(*(entry(name, b"" if name.endswith("/") else b"x", method=8) for name in names)))
    assert list(archive.members.names) == names
    assert archive.members.folders.tolist() == [True, False, False]
