import gzip

import pytest

from core.errors import DatasetRejectedError


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"Rar!\x1a\x07\x01\x00" + bytes(100), "RAR"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(100), "7z"),
        (b"BZh91AY" + bytes(600), "bzip2"),
        (b"\xfd7zXZ\x00" + bytes(100), "xz"),
        (b"\x28\xb5\x2f\xfd" + bytes(100), "Zstandard"),
        (b"%PDF-1.7" + bytes(100), "PDF"),
        (b"hello" * 200, "no archive of a known kind"),
        (bytes(10_240), "no archive of a known kind"),
        (gzip.compress(b"hello", mtime=0), "holds no tar"),
        (gzip.compress(b"", mtime=0), "empty"),
    ],
)
def test_other_files_are_refused_by_what_they_are(content, reason, opened):
    # A46: whatever the file is called
    with pytest.raises(DatasetRejectedError, match=reason) as error:
        opened(content)
    assert error.value.code == "archive_rejected"


def test_a_single_picture_is_no_archive(opened, image_bytes):
    with pytest.raises(DatasetRejectedError, match="single picture"):
        opened(image_bytes())


def test_a_zip_inside_gzip_is_no_archive(opened, zip_bytes, entry):
    # A38
    with pytest.raises(DatasetRejectedError, match="holds no tar"):
        opened(gzip.compress(zip_bytes(entry("a"))))
