import io

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from werkzeug.http import parse_options_header

from api.bodies import CHUNK_BYTES
from api.multipart import Form, OnlyFile
from core.errors import InvalidError, TooLargeError, UnreadableError

HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\n'
TAIL = b"\r\n--b--\r\n"


def make_form(body, *, most_parts=3):
    return Form(io.BytesIO(body), b"b", most_parts=most_parts)


class Dripping(io.RawIOBase):
    """Gives a few bytes at a time, as a slow line does."""

    def __init__(self, content, size):
        self.stream = io.BytesIO(content)
        self.size = size

    def read(self, _=-1):
        return self.stream.read(self.size)


@pytest.mark.parametrize("content", [bytes(3 * CHUNK_BYTES), b"\r\n" * CHUNK_BYTES, b"\r\n--bb" * 10_000, b""])
def test_a_file_of_any_size_comes_out_as_it_went_in(content):
    file = OnlyFile(make_form(HEAD + content + TAIL), "file")
    assert io.BufferedReader(file).read() == content
    assert file.filename == "a.zip"


@pytest.mark.parametrize("tail", [TAIL, b"\r\n--b--", b"\r\n--b--  \r\nan epilogue"])
@pytest.mark.parametrize("size", range(1, 100))
def test_pieces_of_any_size_give_the_same_file(size, tail):
    content = b"PK\r\n--\r\n-b\r--x"
    form = Form(Dripping(HEAD + content + tail, size), b"b", most_parts=1)
    assert io.BufferedReader(OnlyFile(form, "file")).read() == content


@pytest.mark.parametrize("size", range(1, 100))
def test_pieces_of_any_size_give_the_same_parts(size):
    body = HEAD + b"one" + b"\r\n--b \t\r\n" + HEAD.removeprefix(b"--b\r\n") + b"two\r\n" + TAIL
    form = Form(Dripping(body, size), b"b", most_parts=2)
    assert [part.readall() for part in form.read_parts()] == [b"one", b"two\r\n"]


def test_parts_that_are_not_read_are_passed_over():
    form = make_form((HEAD + b"one" + b"\r\n") * 2 + HEAD + b"three" + TAIL)
    assert [part.name for part in form.read_parts()] == ["file"] * 3


def test_each_part_is_read_in_turn():
    form = make_form(HEAD + b"one" + b"\r\n" + HEAD + b"two" + TAIL)
    assert [part.readall() for part in form.read_parts()] == [b"one", b"two"]


@pytest.mark.parametrize("end", range(1, len(HEAD + b"PK" + TAIL) - 3))
def test_a_form_cut_anywhere_is_refused(end):
    with pytest.raises((UnreadableError, InvalidError)):
        io.BufferedReader(OnlyFile(make_form((HEAD + b"PK" + TAIL)[:end]), "file")).read()


def test_headers_without_end_are_refused():
    with pytest.raises(TooLargeError):
        OnlyFile(make_form(b"--b\r\n" + b"X-Endless: x\r\n" * 200_000), "file")


def test_more_parts_than_allowed_are_refused():
    form = make_form((HEAD + b"x" + b"\r\n") * 4 + HEAD + b"x" + TAIL)
    with pytest.raises(TooLargeError):
        list(form.read_parts())


@pytest.mark.parametrize(
    "head",
    [
        b"--b\r\n\r\n" + HEAD.removeprefix(b"--b\r\n"),
        b"--b\r\nno header\r\n\r\n",
        b'--b\r\nContent-Disposition: form-data; name="\xff"\r\n\r\n',
    ],
)
def test_parts_whose_headers_are_none_are_refused(head):
    with pytest.raises(UnreadableError):
        list(make_form(head + b"PK" + TAIL).read_parts())


def test_what_stands_before_and_behind_the_parts_means_nothing():
    form = make_form(b"a preamble\r\n" + HEAD + b"PK" + TAIL + b"an epilogue\r\n--b\r\n")
    assert [part.readall() for part in form.read_parts()] == [b"PK"]


@pytest.mark.parametrize("size", range(1, 60))
def test_an_empty_part_may_end_where_its_headers_do(size):
    body = HEAD.removesuffix(b"\r\n") + b"\r\n--b\r\n" + HEAD.removeprefix(b"--b\r\n") + TAIL
    form = Form(Dripping(body, size), b"b", most_parts=2)
    assert [part.readall() for part in form.read_parts()] == [b"", b""]


def test_a_part_is_read_in_one_go_from_wherever_it_is_at():
    content = bytes(range(256)) * 9000
    part = next(make_form(HEAD + content + TAIL).read_parts())
    assert part.read(10) == content[:10]
    assert part.readall() == content[10:]
    assert part.readall() == b""


NAME = st.text(st.characters(codec="utf-8"), max_size=12) | st.text("a;=\"\\%'* ,\t\x00\xe9", max_size=8)


@given(NAME, st.none() | NAME)
def test_names_are_those_that_the_general_reader_finds(name, filename):
    value = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename is not None else "")
    head = f"--b\r\nContent-Disposition: {value}\r\n\r\n".encode()
    assume("\r\n" not in value)
    _, options = parse_options_header(f" {value}")
    (part,) = make_form(head + b"PK" + TAIL).read_parts()
    assert (part.name, part.filename) == (options.get("name", ""), options.get("filename", ""))
