"""What the server answers by itself is a problem like every other answer."""

import json
from http import HTTPStatus

import pytest
from gunicorn.http import errors

from api.headers import ALWAYS, DEFAULTS
from api.refusals import make_refusal, status_of
from api.schemas.problems import Problem


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.LimitRequestLine(5000, 4094), 414),
        (errors.LimitRequestHeaders("x"), 431),
        (errors.ExpectationFailed("x"), 417),
        (errors.InvalidHeader("CONTENT-LENGTH"), 400),
        (errors.ObsoleteFolding("x"), 400),
        (errors.UnsupportedTransferCoding("x"), 400),
        (errors.InvalidResponseHeader("x"), 500),
        (RuntimeError("x"), 500),
    ],
)
def test_each_fault_has_its_status(error, status):
    assert status_of(error) == status


@pytest.mark.parametrize("status", [400, 408, 413, 414, 417, 431, 500, 503])
def test_it_is_a_problem_with_every_header_of_an_answer(status):
    head, _, body = make_refusal(HTTPStatus(status), client="127.0.0.1").partition(b"\r\n\r\n")
    line, *rest = head.decode("latin-1").split("\r\n")
    headers = dict(header.split(": ", 1) for header in rest)
    problem = Problem.model_validate_json(body)
    assert line.startswith(f"HTTP/1.1 {status} ")
    assert (problem.status, problem.request_id) == (status, headers["X-Request-ID"])
    assert headers.items() >= {**ALWAYS, **DEFAULTS, "Connection": "close"}.items()
    assert int(headers["Content-Length"]) == len(body)
    assert ("Retry-After" in headers) is (status == 503)
    assert json.loads(body)["code"].islower()
