"""A platform that answers as a test tells it to, through HTTP's own seam."""

import json
from collections.abc import Callable

import httpx2
import pytest

from client.sdk import Client
from client.transport import Transport


class FakePlatform:
    """Answers by method and path; what was said last is said again. Keeps every request and every wait."""

    def __init__(self):
        self.requests: list[httpx2.Request] = []
        self.waits: list[float] = []
        self._answers: dict[tuple[str, str], list] = {}

    def on(self, method: str, path: str, *answers) -> None:
        """Say what a path answers: JSON values, responses, errors to raise, or functions of the request."""
        self._answers[method, path] = list(answers)

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        request.read()
        self.requests.append(request)
        answers = self._answers.get((request.method, request.url.path.removeprefix("/api/v1")))
        if not answers:
            return refuse(404, "not_found")
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Callable):
            answer = answer(request)
        return answer if isinstance(answer, httpx2.Response) else httpx2.Response(200, json=answer)

    def bodies(self) -> list:
        """Return the JSON of every request."""
        return [json.loads(request.content) for request in self.requests]


def refuse(status, code="refused", detail="No.", headers=None, **more):
    problem = {"status": status, "code": code, "detail": detail, "request_id": "req_1", **more}
    media_type = {"Content-Type": "application/problem+json"}
    return httpx2.Response(status, json=problem, headers={**media_type, **(headers or {})})


@pytest.fixture
def refusal():
    return refuse


@pytest.fixture
def platform():
    return FakePlatform()


@pytest.fixture
def open_transport(platform):
    def open_():
        adapter = httpx2.MockTransport(platform.handle)
        return Transport("http://lenet.test", "a-key", adapter=adapter, sleep=platform.waits.append)

    return open_


@pytest.fixture
def transport(open_transport):
    return open_transport()


@pytest.fixture
def client(transport):
    with Client(transport=transport) as client:
        yield client


@pytest.fixture
def make_job():
    def make(status="running", **more):
        return {"id": "job_1", "status": status, "name": "first", "config": {"epochs": 3}, "attempt": 1, **more}

    return make
