import hashlib
import io
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx2
import pytest

from client.errors import (
    ConflictError,
    DamagedDownloadError,
    Fault,
    InputError,
    InvalidRequestError,
    NotAllowedError,
    NotFoundError,
    RefusedError,
    ServerError,
    TimedOutError,
    TooManyRequestsError,
    UnauthenticatedError,
    UnavailableError,
    UnexpectedAnswerError,
    UnreachableError,
)
from client.transport import Body, Call, Transport, is_loopback

GET = Call("GET", "/jobs")
CREATE = Call("POST", "/jobs", json={}, creates=True)
ACT = Call("POST", "/jobs", repeatable=False)
CONNECT_ERROR = httpx2.ConnectError("refused")
READ_ERROR = httpx2.ReadError("reset")


def test_a_request_carries_the_key_and_who_asks(transport, platform):
    platform.on("GET", "/jobs", {})
    transport.fetch(GET)
    headers = platform.requests[0].headers
    assert headers["Authorization"] == "Bearer a-key"
    assert headers["User-Agent"].startswith("lenet-client/")


def test_an_answer_without_a_body_is_none(transport, platform):
    platform.on("DELETE", "/jobs", httpx2.Response(204))
    assert transport.fetch(Call("DELETE", "/jobs")) is None


def test_parameters_that_are_none_are_not_sent(transport, platform):
    platform.on("GET", "/jobs", {})
    transport.fetch(Call("GET", "/jobs", params={"tag": None, "limit": 3}))
    assert platform.requests[0].url.query == b"limit=3"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequestError),
        (401, UnauthenticatedError),
        (403, NotAllowedError),
        (404, NotFoundError),
        (405, RefusedError),
        (409, ConflictError),
        (413, InvalidRequestError),
        (415, InvalidRequestError),
        (422, InvalidRequestError),
        (429, TooManyRequestsError),
        (500, ServerError),
        (502, UnavailableError),
        (503, UnavailableError),
        (504, UnavailableError),
    ],
)
def test_a_problem_becomes_the_error_of_its_status(transport, platform, refusal, status, kind):
    platform.on("GET", "/jobs", refusal(status, "some_code", "Why not."))
    with pytest.raises(kind) as caught:
        transport.fetch(GET)
    assert type(caught.value) is kind
    assert (caught.value.code, caught.value.detail, caught.value.request_id) == ("some_code", "Why not.", "req_1")


def test_every_fault_of_a_problem_is_kept(transport, platform, refusal):
    faults = [{"pointer": "/config/epochs", "detail": "too many"}, {"pointer": "/name", "detail": "too long"}]
    platform.on("GET", "/jobs", refusal(422, errors=faults))
    with pytest.raises(InvalidRequestError) as caught:
        transport.fetch(GET)
    assert caught.value.faults == (Fault("/config/epochs", "too many"), Fault("/name", "too long"))


@pytest.mark.parametrize("body", [b"<html>Bad gateway</html>", b"[]", b'{"errors": 7, "code": 3}', b"\xff"])
def test_a_page_of_a_proxy_is_still_an_error_of_its_status(transport, platform, body):
    platform.on("GET", "/jobs", httpx2.Response(403, content=body, headers={"X-Request-ID": "req_2"}))
    with pytest.raises(NotAllowedError, match="403") as caught:
        transport.fetch(GET)
    assert (caught.value.code, caught.value.request_id) == ("forbidden", "req_2")


def test_a_redirect_is_not_followed_with_the_key(transport, platform):
    platform.on("GET", "/jobs", httpx2.Response(302, headers={"Location": "http://elsewhere.test/"}))
    with pytest.raises(RefusedError):
        transport.fetch(GET)
    assert len(platform.requests) == 1


def test_what_is_not_json_is_an_unexpected_answer(transport, platform):
    platform.on("GET", "/jobs", httpx2.Response(200, text="hello"))
    with pytest.raises(UnexpectedAnswerError, match="JSON"):
        transport.fetch(GET)


@pytest.mark.parametrize(
    ("error", "kind", "sent"),
    [
        (CONNECT_ERROR, UnreachableError, False),
        (httpx2.ConnectTimeout("slow"), TimedOutError, False),
        (httpx2.PoolTimeout("slow"), TimedOutError, False),
        (httpx2.ReadTimeout("slow"), TimedOutError, True),
        (httpx2.WriteError("reset"), UnreachableError, True),
        (READ_ERROR, UnreachableError, True),
        (httpx2.RemoteProtocolError("cut"), UnreachableError, True),
    ],
)
def test_a_broken_connection_says_whether_the_request_may_have_arrived(transport, platform, error, kind, sent):
    platform.on("GET", "/jobs", error)
    with pytest.raises(kind) as caught:
        transport.fetch(GET)
    assert caught.value.sent is sent


def test_an_answer_that_cannot_be_decoded_is_unexpected(transport, platform):
    platform.on("GET", "/jobs", httpx2.DecodingError("bad gzip"))
    with pytest.raises(UnexpectedAnswerError):
        transport.fetch(GET)


@pytest.mark.parametrize("call", [GET, CREATE, Call("DELETE", "/jobs")])
@pytest.mark.parametrize("trouble", [CONNECT_ERROR, READ_ERROR, 429, 503])
def test_what_may_be_repeated_is_sent_again(transport, platform, refusal, call, trouble):
    platform.on(call.method, "/jobs", refusal(trouble) if isinstance(trouble, int) else trouble, {"id": "job_1"})
    assert transport.fetch(call) == {"id": "job_1"}
    assert len(platform.requests) == 2


def test_each_sending_of_a_creation_has_the_same_idempotency_key(transport, platform):
    platform.on("POST", "/jobs", READ_ERROR, CONNECT_ERROR, {})
    transport.fetch(CREATE)
    first, *others = [request.headers["Idempotency-Key"] for request in platform.requests]
    assert others == [first, first]


def test_two_creations_have_two_idempotency_keys(transport, platform):
    platform.on("POST", "/jobs", {})
    transport.fetch(CREATE)
    transport.fetch(CREATE)
    assert len({request.headers["Idempotency-Key"] for request in platform.requests}) == 2


def test_an_action_that_may_have_arrived_is_not_sent_again(transport, platform):
    platform.on("POST", "/jobs", READ_ERROR, {})
    with pytest.raises(UnreachableError):
        transport.fetch(ACT)
    assert len(platform.requests) == 1


@pytest.mark.parametrize("trouble", [CONNECT_ERROR, 503])
def test_an_action_that_surely_was_not_done_is_sent_again(transport, platform, refusal, trouble):
    platform.on("POST", "/jobs", refusal(trouble) if isinstance(trouble, int) else trouble, {})
    assert transport.fetch(ACT) == {}


@pytest.mark.parametrize("status", [400, 404, 409, 500])
def test_a_refusal_that_would_come_again_is_not_retried(transport, platform, refusal, status):
    platform.on("GET", "/jobs", refusal(status))
    with pytest.raises(RefusedError):
        transport.fetch(GET)
    assert len(platform.requests) == 1


def test_retries_end_and_their_waits_grow(transport, platform):
    platform.on("GET", "/jobs", CONNECT_ERROR)
    with pytest.raises(UnreachableError):
        transport.fetch(GET)
    assert len(platform.requests) == 5
    assert platform.waits == sorted(platform.waits)
    assert 0.18 < platform.waits[0] < 0.32


def test_retry_after_in_seconds_is_waited_for(transport, platform, refusal):
    platform.on("GET", "/jobs", refusal(429, headers={"Retry-After": "7"}), {})
    transport.fetch(GET)
    assert platform.waits == [7.0]


def test_retry_after_as_a_date_is_waited_for(transport, platform, refusal):
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    platform.on("GET", "/jobs", refusal(503, headers={"Retry-After": date}), {})
    transport.fetch(GET)
    assert 25 < platform.waits[0] <= 30


def test_retry_after_that_is_neither_leaves_the_wait_to_the_client(transport, platform, refusal):
    platform.on("GET", "/jobs", refusal(503, headers={"Retry-After": "soon"}), {})
    transport.fetch(GET)
    assert platform.waits[0] < 1


def test_nobody_waits_for_an_hour(transport, platform, refusal):
    platform.on("GET", "/jobs", refusal(429, headers={"Retry-After": "3600"}), {})
    with pytest.raises(TooManyRequestsError) as caught:
        transport.fetch(GET)
    assert caught.value.retry_after_seconds == 3600
    assert platform.waits == []


def test_a_deletion_whose_answer_was_lost_is_done(transport, platform, refusal):
    platform.on("DELETE", "/jobs", READ_ERROR, refusal(404))
    assert transport.fetch(Call("DELETE", "/jobs")) is None


def test_a_deletion_of_what_is_not_there_is_an_error(transport, platform, refusal):
    platform.on("DELETE", "/jobs", refusal(404))
    with pytest.raises(NotFoundError):
        transport.fetch(Call("DELETE", "/jobs"))


def test_a_body_is_sent_in_pieces_with_its_length_and_whole_again_on_a_retry(transport, platform):
    content, seen = b"x" * 700_000, []
    body = Body(io.BytesIO(content), len(content), "application/zip", lambda *sent: seen.append(sent))
    platform.on("POST", "/datasets", lambda _: httpx2.Response(503), {})
    transport.fetch(Call("POST", "/datasets", body=body, creates=True))
    assert [request.content for request in platform.requests] == [content, content]
    headers = platform.requests[1].headers
    assert (headers["Content-Length"], headers["Content-Type"]) == ("700000", "application/zip")
    assert "Transfer-Encoding" not in headers
    assert seen[:3] == [(262144, 700000), (524288, 700000), (700000, 700000)]


def test_a_download_writes_what_came_and_says_its_digest(transport, platform):
    sha256 = hashlib.sha256(b"weights").hexdigest()
    platform.on("GET", "/file", httpx2.Response(200, content=b"weights", headers={"ETag": f'"{sha256}"'}))
    file = io.BytesIO()
    received = transport.download("/file", file)
    assert (file.getvalue(), received.size_bytes, received.sha256) == (b"weights", 7, sha256)


def cut(_request):
    return httpx2.Response(200, stream=httpx2.ByteStream(b"wei"), headers={"Content-Length": "7"})


def test_a_cut_download_is_asked_for_again_from_its_start(transport, platform):
    platform.on("GET", "/file", cut, httpx2.Response(200, content=b"weights"))
    file = io.BytesIO()
    transport.download("/file", file)
    assert file.getvalue() == b"weights"


def test_a_download_that_is_cut_each_time_is_an_error(transport, platform):
    platform.on("GET", "/file", cut)
    with pytest.raises(DamagedDownloadError, match="3 of 7"):
        transport.download("/file", io.BytesIO())


def test_a_download_that_differs_from_its_etag_is_an_error(transport, platform):
    platform.on("GET", "/file", lambda _: httpx2.Response(200, content=b"weights", headers={"ETag": f'"{"0" * 64}"'}))
    with pytest.raises(DamagedDownloadError, match="SHA-256"):
        transport.download("/file", io.BytesIO())


@pytest.mark.parametrize("etag", ['"v1"', f'W/"{"0" * 64}"', ""])
def test_an_etag_that_is_no_digest_says_nothing(transport, platform, etag):
    platform.on("GET", "/file", httpx2.Response(200, content=b"weights", headers={"ETag": etag}))
    assert transport.download("/file", io.BytesIO()).size_bytes == 7


@pytest.mark.parametrize("url", ["", "lenet.test", "ftp://lenet.test", "http://", "http://[", "http://h:99999999"])
def test_what_is_not_the_url_of_a_platform_is_refused(url):
    with pytest.raises(InputError):
        Transport(url)


def test_a_url_with_the_base_path_is_the_same_platform():
    assert Transport("http://lenet.test/api/v1/").url == "http://lenet.test"


@pytest.mark.parametrize("key", ["a\nb", "schlüssel"])
def test_a_key_that_no_header_can_carry_is_refused(key):
    with pytest.raises(InputError, match="LENET_API_KEY"):
        Transport("http://lenet.test", key)


def test_without_a_key_none_is_sent(platform):
    adapter = httpx2.MockTransport(platform.handle)
    platform.on("GET", "/jobs", {})
    Transport("http://lenet.test", adapter=adapter).fetch(GET)
    assert "Authorization" not in platform.requests[0].headers


@pytest.mark.parametrize(("answer", "ready"), [({}, True), (httpx2.Response(503), False), (CONNECT_ERROR, False)])
def test_readiness_is_asked_for_once(transport, platform, answer, ready):
    platform.on("GET", "/readyz", answer)
    assert transport.is_ready() is ready
    assert [request.url.path for request in platform.requests] == ["/readyz"]


@pytest.mark.parametrize(
    ("url", "own"),
    [("http://127.0.0.1:8000", True), ("http://localhost", True), ("http://[::1]:1", True), ("http://a.test", False)],
)
def test_which_urls_are_this_machine(url, own):
    assert is_loopback(url) is own
