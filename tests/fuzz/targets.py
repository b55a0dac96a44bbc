"""What is fuzzed: each target takes any bytes, and lets nothing pass but the errors that its callers expect.

Whatever else it raises is a crash. It also checks what must hold of an answer, so that a wrong one is a crash, too.
"""

import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

from fuzz.shaping import choose_options, mend_png, mend_tar

from api.bodies import read_json
from api.multipart import Form
from core.datasets.archives import open_archive, read_part
from core.datasets.images import read_array
from core.datasets.layout import arrange
from core.datasets.limits import ArchiveLimits
from core.datasets.members import DamagedError, StructureError
from core.domain.training_config import resolve, settle
from core.errors import DatasetRejectedError, InvalidError

Target = Callable[[bytes], None]
LIMITS = ArchiveLimits(
    entries=500, total_bytes=4 * 2**20, entry_bytes=2**20, ratio=100, ratio_free_bytes=2**20, pixels=2**18, classes=50
)
BOUNDARY = b"frontier"
_MOST_PARTS = 5
_IMAGE_SIZE = 24


@contextmanager
def _written(data: bytes) -> Iterator[Path]:
    """Yield a file in memory."""
    with TemporaryDirectory(prefix="lenet-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        path = Path(folder) / "archive"
        path.write_bytes(data)
        yield path


def read_archive(data: bytes) -> None:
    """Read an archive of any kind as a worker does: the table, the layout, then every content."""
    with _written(data) as path:
        try:
            with open_archive(path, limits=LIMITS, scratch=path.parent, beat=lambda: None) as archive:
                assert len(archive.members) <= LIMITS.entries
                assert int(archive.members.sizes.sum()) <= LIMITS.total_bytes
                with read_part(archive.path, archive.kind, archive.members) as read:
                    for member in archive.members.rows():
                        assert ".." not in member.name.split("/")
                        try:
                            content = read(member, True)
                        except (StructureError, DamagedError):
                            continue
                        assert len(content) == member.size <= LIMITS.entry_bytes
                layout = arrange(archive.members, limits=LIMITS)
                assert len(layout.notes) == len(archive.members)
        except DatasetRejectedError as error:
            assert error.faults
        assert os.listdir(path.parent) == ["archive"]  # noqa: PTH208 - quicker, and this is done a million times


def read_tar(data: bytes) -> None:
    """Read an archive as it is, and once more with the checksums of a tar's headers mended: else few go further."""
    read_archive(data)
    read_archive(mend_tar(data))


def read_image(data: bytes) -> None:
    """Read an image as training and prediction do; the first byte says in which form, and whether it is mended."""
    mode, data = ("rgb" if data[:1] > b"\x7f" else "grayscale"), mend_png(data[1:]) if data[:1] > b"\x3f" else data[1:]
    try:
        pixels = read_array(data, image_size=_IMAGE_SIZE, color_mode=mode, max_pixels=LIMITS.pixels)
    except InvalidError as error:
        assert error.code in ("unreadable_image", "image_too_large")
    else:
        assert pixels.shape == (_IMAGE_SIZE, _IMAGE_SIZE, 3 if mode == "rgb" else 1)


def read_object(data: bytes) -> None:
    """Read a JSON body; what is taken can be stored as it is, and read again as the same."""
    try:
        value = read_json(data)
    except InvalidError:
        return
    text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    assert read_json(text.encode()) == value


def read_config(data: bytes) -> None:
    """Resolve a training config; what is taken resolves to itself, and fits a dataset or says why not.

    It is JSON, or else each two bytes choose an option and its value.
    """
    try:
        config = resolve(read_json(data) if data[:1] == b"{" else choose_options(data))
    except InvalidError as error:
        for fault in error.faults:
            assert fault.pointer == "" or fault.pointer.startswith("/"), fault
        return
    stored = json.loads(config.model_dump_json())
    assert resolve(stored) == config
    try:
        settle(config, classes=2, train_images=100, color_mode="grayscale", class_images=[40, 60])
    except InvalidError as error:
        assert error.faults


def read_form(data: bytes) -> None:
    """Read a form of parts; the first byte says in pieces of which length it comes."""
    body = _Pieces(data[1:], size=1 + data[0] if data else 1)
    total = 0
    try:
        for part in Form(body, BOUNDARY, most_parts=_MOST_PARTS).read_parts():
            assert isinstance(part.name, str)
            total += len(part.readall())
    except InvalidError:
        pass
    assert total <= len(data)


class _Pieces(io.BytesIO):
    """A body of which each reading gives a few bytes."""

    def __init__(self, data: bytes, *, size: int) -> None:
        super().__init__(data)
        self._size = size

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(self._size if size is None or size < 0 else min(size, self._size))


TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        "zip": read_archive,
        "tar": read_tar,
        "image": read_image,
        "config": read_config,
        "json": read_object,
        "form": read_form,
    }
)
