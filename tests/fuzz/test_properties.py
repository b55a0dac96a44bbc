"""What holds for inputs of the right shape, whatever is in them: the fuzzer hardly ever draws one by itself."""

import io
import json
import tarfile
from typing import get_args

import numpy as np
import pytest
from forgery import pictures
from forgery.zips import Entry, ZipWriter
from fuzz.shaping import mend_png
from fuzz.targets import BOUNDARY, LIMITS, read_archive, read_config, read_form, read_image
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from api.bodies import read_json
from api.multipart import Form
from core.datasets.images import FORMATS, read_array
from core.domain.training_config import resolve
from core.domain.training_options import ArchitectureName
from core.errors import InvalidError

QUICK = settings(max_examples=150, deadline=None)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
contents = st.binary(max_size=60)
numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | names
options = st.sampled_from(["epochs", "batch_size", "optimizer", "architecture", "dense", "preset"])
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3))


@QUICK
@given(
    st.lists(
        st.builds(
            Entry,
            names,
            contents,
            method=st.sampled_from([0, 8, 12]),
            flags=st.integers(0, 2**16 - 1),
            attributes=st.integers(0, 2**32 - 1),
            size=st.none() | st.integers(0, 2**32 - 1),
            extra=st.binary(max_size=30),
        ),
        max_size=5,
    ),
    st.binary(max_size=30),
)
def test_any_zip_is_read_or_refused(entries, comment):
    read_archive(ZipWriter(entries, comment=comment).write())


@QUICK
@given(
    st.lists(st.tuples(names, contents, st.sampled_from([b"0", b"1", b"2", b"5", b"6", b"S", b"x"])), max_size=5),
    st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_any_tar_is_read_or_refused(entries, form):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, content, kind in entries:
            about = tarfile.TarInfo(name[:90])
            about.type, about.size = kind, len(content) if kind == b"0" else 0
            archive.addfile(about, io.BytesIO(content))
    read_archive(buffer.getvalue())


@QUICK
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from(FORMATS),
    st.sampled_from(["L", "RGB", "RGBA", "P", "1", "CMYK", "I;16", "LA"]),
    st.integers(0, 2**16),
)
def test_a_sound_image_of_any_form_gives_the_same_pixels_each_time(size, image_format, mode, seed):
    try:
        data = pictures.encode(Image.fromarray(noise(seed, size)).convert(mode), image_format)
    except (OSError, KeyError, ValueError):  # Pillow does not write that mode in that format
        return
    wanted = {"image_size": 16, "color_mode": "rgb", "max_pixels": LIMITS.pixels}
    np.testing.assert_array_equal(read_array(data, **wanted), read_array(data, **wanted))
    read_image(b"\0" + data)


def noise(seed, size):
    return np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)


@QUICK
@given(st.integers(2**17, 2**32 - 1), st.integers(1, 2**32 - 1))
def test_no_header_makes_an_image_larger_than_the_cap(width, height):
    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    data = mend_png(pictures.png((8, 8)).replace(b"\0\0\0\x08\0\0\0\x08", size))
    with pytest.raises(InvalidError) as caught:
        read_array(data, image_size=16, color_mode="rgb", max_pixels=LIMITS.pixels)
    assert caught.value.code in ("image_too_large", "unreadable_image")


@QUICK
@given(st.dictionaries(options | names, values, max_size=4))
def test_any_object_is_a_config_or_refused_with_its_faults(value):
    read_config(json.dumps(value).encode())


@QUICK
@given(st.sampled_from(get_args(ArchitectureName)), st.integers(1, 1000), st.integers(1, 4096), st.floats(1e-6, 10))
def test_a_config_of_sound_values_is_taken_whole(architecture, epochs, batch_size, rate):
    raw = {
        "architecture": architecture,
        "epochs": epochs,
        "batch_size": batch_size,
        "optimizer": {"name": "sgd", "learning_rate": rate},
    }
    config = resolve(raw)
    assert (config.architecture, config.epochs, config.batch_size) == (architecture, epochs, batch_size)
    assert resolve(config.model_dump(mode="json")) == config


@QUICK
@given(st.dictionaries(names.filter(lambda text: "\0" not in text), values, max_size=4))
def test_an_object_is_read_as_it_was_written_or_refused(value):
    text = json.dumps(value).encode()
    if b"\\u0000" not in text:
        assert read_json(text) == value


@QUICK
@given(st.lists(contents.filter(lambda data: b"\r\n--" + BOUNDARY not in data), max_size=4), st.integers(1, 200))
def test_parts_of_a_form_come_as_they_were_sent(parts, size):
    mark = b"--" + BOUNDARY
    head = b'\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
    body = b"".join(mark + head + part + b"\r\n" for part in parts) + mark + b"--\r\n"
    read_form(bytes([size]) + body)
    assert [part.readall() for part in Form(io.BytesIO(body), BOUNDARY, most_parts=9).read_parts()] == parts
