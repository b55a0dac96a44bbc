"""A10-A13, A15-A27, A29: what is sent to the API that no client of ours would send."""

import json
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from security.estate import make_picture
from security.footprint import ESCAPE
from security.visitors import BASE_PATH, Visitor

MEBIBYTE = 2**20
HOST = "Host: 127.0.0.1"
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "multipart/form-data; boundary=b"}


def head(method: str, path: str, key: str | None, *lines: str) -> bytes:
    """Return the head of a request as bytes."""
    given = [HOST, *([f"Authorization: Bearer {key}"] if key else []), *lines]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *given, "", ""]).encode("latin-1")


def part(name: str, content: bytes, filename: str | None = "a.png") -> bytes:
    """Return one part of a form, its names as they are given."""
    file = "" if filename is None else f'; filename="{filename}"'
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + content + b"\r\n"


@contextmanager
def little_work(estate) -> Iterator[None]:
    """Fail where the API takes more than some seconds of processor time in the block."""
    processes = estate.fortress.api.children()
    before = sum(sum(one.cpu_times()[:2]) for one in processes)
    yield
    assert sum(sum(one.cpu_times()[:2]) for one in processes) - before < 8.0


STRANGE_IDS = [
    "1",
    "2",
    "0",
    "-1",
    "a" * 4096,
    "job_%00",
    "..%2f..%2fetc",
    "{job_id}",
    "job_{}",
    "%7Bid%7D",
    "job_\u0967",
]
STRANGE_IDS += ["%2e%2e", "job_0%0d%0aX: y", "job_%ff%fe", "job_0;DROP", "' OR 1=1 --", "%252e%252e"]


@pytest.mark.parametrize("thing", ["jobs", "datasets", "keys"])
@pytest.mark.parametrize("strange", STRANGE_IDS, ids=range(len(STRANGE_IDS)))
def test_a10_what_is_no_id_is_not_found(bob, thing, strange, leaves):
    leaves(audit_events=2)  # who tried what is the administrators'
    for method in ("GET", "DELETE"):
        assert bob.call(method, f"/{thing}/{strange}").status_code in (400, 403, 404, 405, 414)


def test_a10_what_is_no_id_is_not_found_as_raw_bytes_either(estate, raw):
    key = estate.keys["bob", "train"]
    for name in ("job_\x00", "job_\xff", "../../../etc/passwd", "a" * 70_000, "job_0\tb", "job_{id}"):
        answers = raw(head("GET", f"{BASE_PATH}/jobs/{name}", key, "Connection: close"))
        assert [answer.status in (400, 404, 414) for answer in answers] == [True], (name, answers)


OTHER_WAYS = [
    "//api/v1/jobs",
    "/api//v1//jobs",
    "/api/v1/jobs;a=b",
    "/api/v1/%2e%2e/v1/jobs",
    "/api/v1/%252e%252e/v1/jobs",
]
OTHER_WAYS += [
    "/api%2Fv1%2Fjobs",
    "/api/v1/jobs/",
    "/API/v1/jobs",
    "/api/v1/../v1/jobs",
    "/api/v1/./jobs",
    "/api/v1/jobs%00",
]


@pytest.mark.parametrize("path", OTHER_WAYS)
def test_a11_a_path_is_written_one_way_only(estate, raw, path):
    answers = raw(head("GET", path, estate.keys["bob", "train"], "Connection: close"))
    assert [answer.status for answer in answers] == [404]


def test_a11_a_method_is_what_the_request_line_says(alice, victim):
    forged = {"X-HTTP-Method-Override": "DELETE", "X-Method-Override": "DELETE", "X-HTTP-Method": "DELETE"}
    assert alice.call("GET", f"/jobs/{victim.job_id}", headers=forged).json()["id"] == victim.job_id
    assert alice.call("GET", f"/jobs/{victim.job_id}?_method=DELETE", headers=forged).json()["id"] == victim.job_id
    for method in ("PUT", "PATCH", "TRACE", "CONNECT", "PROPFIND"):
        assert alice.call(method, f"/jobs/{victim.job_id}").status_code in (404, 405)
    assert alice.get(f"/jobs/{victim.job_id}")["status"] == "succeeded"


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "[::2]", "10.0.0.1"]
)
def test_a12_a_forged_host_is_refused_with_a_key_and_without(estate, raw, host):
    for key in (estate.keys["alice", "train"], None):
        lines = [f"GET {BASE_PATH}/jobs HTTP/1.1", f"Host: {host}", f"Authorization: Bearer {key}", "Connection: close"]
        answers = raw("\r\n".join([*lines, "", ""]).encode())
        assert [(answer.status, answer.json()["code"]) for answer in answers] == [(400, "host_not_allowed")]


FORGED = {
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Prefix": "/evil",
    "Forwarded": "for=6.6.6.6;host=evil.example",
    "X-Real-IP": "6.6.6.6",
    "X-Original-URL": "/api/v1/keys",
    "X-Rewrite-URL": "/api/v1/keys",
}


def test_a12_forged_forwarding_is_in_no_link_and_reaches_no_other_route(alice, victim):
    plan = {"dataset_id": victim.dataset_id, "validate_only": True}
    answer = alice.call("POST", "/jobs", json=plan, headers=FORGED)
    assert answer.status_code == 200
    assert "evil" not in str(answer.headers) + answer.text
    assert "items" in alice.call("GET", "/jobs", headers=FORGED).json()


def test_a12_forged_addresses_do_not_hide_who_guesses(estate):
    with estate.fortress.another_api(bad_keys_per_minute=5) as root:
        guesser = Visitor(root, "wrong-key-0123456789")
        answers = [guesser.call("GET", "/jobs", headers={"X-Forwarded-For": f"6.6.6.{n}"}) for n in range(10)]
        guesser.close()
    assert {answer.status_code for answer in answers} == {401, 429}
    assert answers[-1].status_code == 429


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1"])
def test_a13_a_foreign_origin_is_granted_nothing(alice, nobody, origin):
    sent = {"Origin": origin, "Cookie": "session=x"}
    asked = {**sent, "Access-Control-Request-Method": "DELETE", "Access-Control-Request-Headers": "authorization"}
    for answer in (alice.call("GET", "/jobs", headers=sent), nobody.call("OPTIONS", "/jobs", headers=asked)):
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    assert nobody.call("OPTIONS", "/jobs", headers=asked).status_code == 401


@pytest.mark.parametrize(
    "media_type", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=b"]
)
@pytest.mark.parametrize("path", ["/jobs", "/keys"])
def test_a13_a_form_of_another_site_is_no_request(estate, path, media_type, leaves):
    leaves(audit_events=1)
    body = b'{"name": "x", "scopes": ["admin"], "dataset_id": "ds_0"}'
    answer = estate.first.call(
        "POST", path, content=body, headers={"Content-Type": media_type, "Origin": "https://evil.example"}
    )
    assert answer.status_code == 415


def test_a15_a_length_above_the_limit_is_refused_before_a_byte_is_read(estate, raw):
    key = estate.keys["bob", "train"]
    began = time.monotonic()
    answers = raw(
        head("POST", f"{BASE_PATH}/datasets", key, "Content-Type: application/zip", f"Content-Length: {2**40}")
    )
    assert [answer.status for answer in answers] == [413]
    assert time.monotonic() - began < 8


@pytest.mark.parametrize("path", ["/jobs", "/keys", "/jobs/{}/cancel", "/jobs/{}/retry"])
def test_a15_json_above_its_limit_is_refused(estate, victim, path, leaves):
    leaves(audit_events=1)
    body = b'{"name": "' + b"x" * 2 * MEBIBYTE + b'"}'
    answer = estate.first.call("POST", path.format(victim.job_id), content=body, headers=JSON)
    assert answer.status_code == 413


def chunks(piece: bytes, count: int) -> Iterator[bytes]:
    """Yield a body of unknown length."""
    yield from (piece for _ in range(count))


def test_a16_a_body_of_unknown_length_is_stopped_at_the_limit(bob, victim, estate):
    with little_work(estate):
        answer = bob.call("POST", "/jobs", content=chunks(b" " * MEBIBYTE, 40), headers=JSON)
        assert answer.status_code == 413


def test_a16_so_is_one_to_an_upload(estate):
    with estate.fortress.another_api(max_upload_bytes=MEBIBYTE) as root:
        visitor = Visitor(root, estate.keys["bob", "train"])
        zipped = {"Content-Type": "application/zip"}
        assert visitor.call("POST", "/datasets", content=chunks(bytes(MEBIBYTE), 30), headers=zipped).status_code == 413
        visitor.close()


def drip(links: list[socket.socket], stop: threading.Event) -> None:
    """Send a byte a second on each connection, as long as it takes them."""
    while not stop.wait(1.0):
        for link in links:
            try:
                link.send(b"a")
            except OSError:
                continue


def measure(ask: Callable[[], object], *, seconds: float) -> list[float]:
    """Return how long each of the requests took that fit into some seconds."""
    taken, ends_at = [], time.monotonic() + seconds
    while time.monotonic() < ends_at:
        began = time.monotonic()
        ask()
        taken.append(time.monotonic() - began)
        time.sleep(0.01)
    return sorted(taken)


def test_a17_two_hundred_slow_clients_hold_nobody_up_and_are_cut_off(estate, alice, victim):
    key = estate.keys["bob", "train"]
    upload = head("POST", f"{BASE_PATH}/datasets", key, "Content-Type: application/zip", "Content-Length: 1000000")
    beginnings = [
        b"GET /healthz HTTP/1.1\r\nX: ",
        head("POST", f"{BASE_PATH}/jobs", key, "Content-Type: application/json", "Content-Length: 1000"),
        upload,
        upload + bytes(70_000),
    ]

    def ask() -> None:
        assert alice.call("GET", f"/jobs/{victim.job_id}").status_code == 200

    before, stop = measure(ask, seconds=5), threading.Event()
    with ExitStack() as stack:
        port = int(estate.fortress.root.rsplit(":", 1)[1])
        links = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60)) for _ in range(200)]
        for number, link in enumerate(links):
            link.sendall(beginnings[number % len(beginnings)])
        thread = threading.Thread(target=drip, args=(links, stop))
        thread.start()
        try:
            during = measure(ask, seconds=9)
            ends = [link.recv(4096) for link in links]
        finally:
            stop.set()
            thread.join()
    assert {end.split(b" ")[1] for end in ends if end} <= {b"408", b"503"}
    slow, usual = (taken[int(len(taken) * 0.99)] for taken in (during, before))
    middle = statistics.median(during) / statistics.median(before)
    print(f"p99 {usual * 1000:.1f} ms before, {slow * 1000:.1f} ms beside 200 slow clients; medians {middle:.2f} to 1")
    assert slow < max(3 * usual, 1.0)


def test_a18_many_parts_and_long_fields_are_refused(bob, alice, victim, estate):
    many = b"".join(part(f"field{number}", b"x", None) for number in range(1500)) + b"--b--\r\n"
    images = part("image", b"x") * 2500 + b"--b--\r\n"
    long_field = part("text", b"x" * 600_000, None) + b"--b--\r\n"
    path = f"/jobs/{victim.job_id}/predict"
    with little_work(estate):
        assert bob.call("POST", "/datasets", content=many, headers=FORM).status_code in (413, 422)
        assert alice.call("POST", path, content=images, headers=FORM).status_code == 413
        for where in ("/datasets", path):
            assert alice.call("POST", where, content=long_field, headers=FORM).status_code in (413, 422)


@pytest.mark.parametrize("path", ["/jobs", "/datasets", "/jobs/{}/predict"])
def test_a19_a_huge_urlencoded_form_is_refused(alice, victim, path):
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = alice.call("POST", path.format(victim.job_id), content=b"a=" + b"x" * 20 * MEBIBYTE, headers=form)
    assert answer.status_code in (413, 415)


@pytest.mark.parametrize("filling", [b"\r\n", b"\r\n--", b"\r\n--b", b"\r"])
def test_a20_a_part_full_of_line_ends_takes_little_work(alice, victim, estate, filling):
    content = b"\r\n" + filling * (50 * MEBIBYTE // len(filling))
    body = part("image", content) + b"--b--\r\n"
    with little_work(estate):
        answer = alice.call("POST", f"/jobs/{victim.job_id}/predict", content=body, headers=FORM)
    assert answer.status_code in (413, 422)


@pytest.mark.parametrize(
    ("media_type", "status"),
    [
        ("multipart/form-data", 400),
        ("multipart/form-data; boundary=", 400),
        ("multipart/form-data; boundary=other", 400),
        ("multipart/form-data; boundary=" + "x" * 300, 400),
        ("multipart/form-data; boundary=\xff", 400),
        ("multipart/mixed; boundary=b", 415),
    ],
)
def test_a21_a_boundary_that_is_none_is_refused(alice, victim, media_type, status):
    body = part("image", make_picture()) + b"--b--\r\n"
    for path in ("/datasets", f"/jobs/{victim.job_id}/predict"):
        answer = alice.call("POST", path, content=body, headers={"Content-Type": media_type.encode("latin-1")})
        assert answer.status_code == status


def test_a21_two_archives_in_one_form_are_refused(bob):
    body = part("file", b"PK") * 2 + b"--b--\r\n"
    assert bob.call("POST", "/datasets", content=body, headers=FORM).status_code == 422


NAMES = [
    f"../../../{ESCAPE}.png",
    f"/tmp/{ESCAPE}.png",
    f"C:\\{ESCAPE}.png",
    f"{ESCAPE}\0.png",
    "x" * 10_000,
    "\u202e.png",
]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a21_a_files_name_is_data_and_no_more(alice, victim, name):
    body = part("image", make_picture(), name) + b"--b--\r\n"
    answer = alice.call("POST", f"/jobs/{victim.job_id}/predict", content=body, headers=FORM)
    assert answer.status_code in (200, 400, 422)
    if answer.status_code == 200:
        assert answer.json()["predictions"][0]["filename"].replace("\\", "") in name.replace("\\", "")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_a22_a_number_that_is_none_is_refused_and_named(bob, number):
    body = f'{{"dataset_id": "ds_0", "config": {{"optimizer": {{"learning_rate": {number}}}}}}}'
    answer = bob.call("POST", "/jobs", content=body.encode(), headers=JSON)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/config/optimizer/learning_rate"


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_a23_json_that_is_nested_deeply_is_refused(bob, opening):
    for depth in (40, 2000, 100_000):
        answer = bob.call("POST", "/jobs", content=(opening * depth).encode(), headers=JSON)
        assert answer.status_code == 400
        closed = opening * depth + "1" + {"[": "]", "{": "}"}[opening[0]] * depth
        assert bob.call("POST", "/jobs", content=closed.encode(), headers=JSON).status_code in (400, 422)


BROKEN = {
    "a name twice": (b'{"dataset_id": "a", "dataset_id": "b"}', 400),
    "half a character": (b'{"name": "\\ud800", "dataset_id": "a"}', 422),
    "half a character as a name": (b'{"\\udfff": 1}', 422),
    "an integer of 5000 digits": (b'{"dataset_id": "a", "priority": ' + b"9" * 5000 + b"}", 400),
    "an integer of 4000 digits": (b'{"dataset_id": "a", "priority": ' + b"9" * 4000 + b"}", 422),
    "a learning rate of 4000 digits": (b'{"config": {"optimizer": {"learning_rate": ' + b"9" * 4000 + b"}}}", 422),
    "a float of many digits": (b'{"dataset_id": "a", "priority": 5.' + b"0" * 9000 + b"}", 422),
    "an array": (b"[]", 422),
    "null": (b"null", 422),
    "bad UTF-8": (b'{"name": "\xff\xfe"}', 400),
    "overlong UTF-8": (b'{"name": "\xc0\xaf"}', 400),
    "nothing": (b"", 400),
    "two objects": (b"{}{}", 400),
    "a comment": (b'{"a": 1} // b', 400),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a24_json_that_readers_disagree_on_is_refused(bob, name):
    body, status = BROKEN[name]
    assert bob.call("POST", "/jobs", content=body, headers=JSON).status_code == status


@pytest.mark.parametrize(
    "media_type",
    [
        "text/plain",
        "application/xml",
        "application/json; charset=utf-16",
        "application/json; charset=x",
        "*/*",
        "",
        ";;",
        "\xff",
    ],
)
def test_a25_another_media_type_is_refused(bob, media_type):
    for body in (b'{"dataset_id": "ds_0"}', '{"dataset_id": "ds_0"}'.encode("utf-16")):
        answer = bob.call("POST", "/jobs", content=body, headers={"Content-Type": media_type.encode("latin-1")})
        assert answer.status_code in (400, 415)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "identity, gzip", "x"])
def test_a26_a_compressed_body_is_refused(bob, alice, victim, estate, coding):
    import gzip

    bomb = gzip.compress(bytes(200 * MEBIBYTE), 9)
    for path in ("/jobs", "/datasets", f"/jobs/{victim.job_id}/predict"):
        for media_type in ("application/json", "application/zip", FORM["Content-Type"]):
            headers = {"Content-Type": media_type, "Content-Encoding": coding}
            assert alice.call("POST", path, content=bomb, headers=headers).status_code == 415


SMUGGLING = {
    "length and chunks": ("Content-Length: 6", "Transfer-Encoding: chunked"),
    "two lengths": ("Content-Length: 6", "Content-Length: 60"),
    "two lengths in one": ("Content-Length: 6, 60",),
    "the same length twice": ("Content-Length: 6", "Content-Length: 6"),
    "folding": ("X-Folded: a\r\n b", "Content-Length: 6"),
    "folded coding": ("Transfer-Encoding:\r\n chunked",),
    "an unknown coding": ("Transfer-Encoding: xchunked",),
    "chunks twice": ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    "chunks not last": ("Transfer-Encoding: chunked, identity",),
    "a space before the colon": ("Transfer-Encoding : chunked",),
    "a vertical tab": ("Transfer-Encoding:\x0bchunked",),
    "a negative length": ("Content-Length: -6",),
    "a hexadecimal length": ("Content-Length: 0x6",),
    "two hosts": ("Host: evil.example", "Content-Length: 6"),
}


@pytest.mark.parametrize("name", SMUGGLING)
def test_a27_what_two_servers_could_read_differently_is_refused_and_the_connection_ended(estate, raw, name):
    hidden = head("DELETE", f"{BASE_PATH}/jobs/{estate.victim.job_id}", estate.keys["alice", "train"])
    first = head(
        "POST", f"{BASE_PATH}/jobs", estate.keys["bob", "train"], "Content-Type: application/json", *SMUGGLING[name]
    )
    answers = raw(first + b"0\r\n\r\n" + hidden)
    assert [answer.status for answer in answers] == [400]
    assert answers[0].headers["connection"] == "close"


RANGES = {
    "epochs": [0, -1, 10**9, True, "10", 1.5, None.__class__.__name__, [], {}],
    "batch_size": [0, -1, 2**31, 2**63, "8", True],
    "optimizer": [
        "unknown",
        {"name": "unknown"},
        {"name": "adam", "learning_rate": 0},
        {"name": "adam", "learning_rate": -1},
    ],
    "seed": [-1, 2**64, 2**200, "1", True],
    "image_size": [0, -28, 10**6],
    "architecture": ["unknown", "", 1, "../lenet5"],
    "dropout": [-0.1, 1.0, "x"],
}


@pytest.mark.parametrize(("option", "value"), [(name, value) for name, values in RANGES.items() for value in values])
def test_a29_a_value_out_of_range_is_refused_and_named(alice, victim, option, value):
    body = {"dataset_id": victim.dataset_id, "config": {option: value}}
    answer = alice.call("POST", "/jobs", content=json.dumps(body).encode(), headers=JSON)
    assert answer.status_code == 422
    assert any(fault["pointer"].startswith(f"/config/{option}") for fault in answer.json()["errors"]), answer.text
