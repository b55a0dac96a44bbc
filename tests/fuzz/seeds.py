"""Where fuzzing starts: a few good inputs of each target, made by code, and what was found before, kept as hex."""

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from forgery import pictures
from forgery.zips import Entry, ZipWriter
from fuzz.targets import BOUNDARY

from core.domain.presets import PRESETS
from core.domain.training_config import resolve

FOUND = Path(__file__).parent / "found"
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
_FILES = {f"train/{name}/{number}.png": pictures.draw(number) for name in "ab" for number in range(2)}


def find_seeds(target: str) -> list[bytes]:
    """Return the inputs that a target's fuzzing begins with."""
    return [*_MADE[target](), *find_kept(target)]


def find_kept(target: str) -> list[bytes]:
    """Return the inputs that earlier fuzzing has found worth keeping: one a line, in hexadecimal."""
    path = FOUND / f"{target}.hex"
    return [bytes.fromhex(line) for line in path.read_text(encoding="ascii").splitlines()] if path.exists() else []


def _zips() -> Iterator[bytes]:
    for method in (0, 8):
        entries = [Entry(name, content, method=method) for name, content in _FILES.items()]
        yield ZipWriter(entries, comment=b"by hand").write()
        yield ZipWriter(entries, with_zip64=True, end_entries=0xFFFF, end_size=0xFFFFFFFF).write()
    yield ZipWriter([Entry("../x", b"y", flags=1), Entry("a\0", method=12), Entry("é/".encode(), b"")]).write()
    yield ZipWriter([Entry("a/1.png", b"x", size=0xFFFFFFFF, extra=b"\1\0\x10\0" + bytes(16))]).write()
    yield ZipWriter([]).write()


def _tars() -> Iterator[bytes]:
    picture, long_name = pictures.draw(), "train/" + "n" * 120 + "/1.png"
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        for names in (["train/a/1.png"], [long_name], list(_FILES)):
            archive = _tar([(name, tarfile.REGTYPE, picture) for name in names], form)
            yield archive
            yield gzip.compress(archive, mtime=0)
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, tarfile.GNUTYPE_SPARSE):
        yield _tar([("odd", kind, b"")], tarfile.GNU_FORMAT)


def _tar(entries: Iterable[tuple[str, bytes, bytes]], form: int) -> bytes:
    """Return a tar of names, kinds and contents with no more padding than it needs: few bytes, few of them idle."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, kind, content in entries:
            about = tarfile.TarInfo(name)
            about.type, about.size, about.linkname = kind, len(content), "/etc/passwd" if not content else ""
            archive.addfile(about, io.BytesIO(content))
        end = archive.offset
    return buffer.getvalue()[: end + 2 * tarfile.BLOCKSIZE]


def _images() -> Iterator[bytes]:
    for first in (b"\0", b"\x40", b"\xff"):
        for image_format in _FORMATS:
            yield first + pictures.draw(size=(9, 7), mode="RGB", image_format=image_format)
        yield first + pictures.draw(mode="RGBA")
        yield first + pictures.apng(3)
        yield first + pictures.gif(3)
        yield first + pictures.webp(3)
        yield first + pictures.tiff(12)
    yield b"\0" + pictures.draw(mode="RGB", image_format="JPEG", exif=pictures.TURNED)


def _configs() -> Iterator[bytes]:
    for name in PRESETS:
        yield json.dumps({"preset": name}).encode()
        yield resolve({"preset": name}).model_dump_json().encode()
    yield from (bytes([name, value]) for name, value in zip(range(0, 250, 5), range(250, 0, -5), strict=True))
    yield bytes(range(64))
    yield b'{"epochs": -1, "optimizer": {"name": "none", "learning_rate": 1e999}}'
    yield b'{"augmentation": {"rotation": 10}, "dense": [84, 10], "scheduler": {"name": "one_cycle"}}'


def _objects() -> Iterator[bytes]:
    yield from (b"{}", b"[]", b"null", b'{"a": 1, "a": 2}', b'{"a": NaN}', b'{"a": "\\ud800"}', b'{"a": 1e999}')
    yield b'{"a": ' * 40 + b"1" + b"}" * 40
    yield b'{"n": ' + b"9" * 5000 + b"}"
    yield '{"dataset_id": "ds_é😀", "config": {"epochs": 3.5, "x": [true, null, -0.0]}}'.encode()


def _forms() -> Iterator[bytes]:
    mark = b"--" + BOUNDARY
    head = b'\r\nContent-Disposition: form-data; name="image"; filename="a\\"b.png"\r\n\r\n'
    for first in (b"\0", b"\7", b"\xff"):
        yield first + mark + head + b"data\r\n" + mark + head + b"\r\n-\r\n--fron\r\n" + mark + b"--\r\n"
        yield first + mark + b"--"
        yield first + b"preamble\r\n" + mark + b" \t" + head + b"\r\n" * 50 + mark + b"--trailer"
        yield first + (mark + head + b"x\r\n") * 7 + mark + b"--"


_MADE: Mapping[str, Callable[[], Iterator[bytes]]] = MappingProxyType(
    {"zip": _zips, "tar": _tars, "image": _images, "config": _configs, "json": _objects, "form": _forms}
)
