"""A client that keeps every answer that it got, for the history."""

import contextlib
import hashlib
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
from chaos.history import HUNG, Answer
from chaos.processes import until

ANSWER_SECONDS = 5.0 + 2.0
"""What the contract allows for an answer, and what a machine may add on which others train."""
_ENDED = ("succeeded", "failed", "cancelled")
# Longer than anybody may be silent who is there to answer: an API that is frozen and one that starts are waited for.
_PATIENCE_SECONDS = 40.0


class _DroppedError(Exception):
    """The client goes away in the middle of its request."""


class Caller:
    """Calls one API. `call` asks once; `insist` asks again, with the same idempotency key, until it is answered."""

    def __init__(self, url: str, key: str) -> None:
        self.answers: list[Answer] = []
        self._http = httpx2.Client(
            base_url=f"{url}/api/v1",
            headers={"Authorization": f"Bearer {key}"},
            timeout=_PATIENCE_SECONDS,
            trust_env=False,
        )

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def call(
        self, method: str, path: str, *, key: str | None = None, sent: bytes | None = None, **request: Any
    ) -> Answer:
        """Ask once and keep the answer; raises `httpx2.TransportError` where there was none.

        One that did not come in time is kept too, with the status `HUNG`.
        """
        headers = {"Idempotency-Key": key} if key else {}
        if sent is not None:
            request["content"], headers["Content-Type"] = sent, "application/zip"
        asked_at = time.time()
        try:
            response = self._http.request(method, path, headers=headers, **request)
        except httpx2.TimeoutException:
            self.answers.append(Answer(method, path, HUNG, asked_at=asked_at, answered_at=time.time(), key=key))
            raise
        is_json = response.headers.get("content-type", "").split(";")[0].endswith("json")
        answer = Answer(
            method=method,
            path=path,
            status=response.status_code,
            body=response.json() if is_json else None,
            asked_at=asked_at,
            answered_at=time.time(),
            retry_after=response.headers.get("retry-after"),
            key=key,
            sent_sha256=None if sent is None else hashlib.sha256(sent).hexdigest(),
            read_sha256=None if is_json else hashlib.sha256(response.content).hexdigest(),
        )
        self.answers.append(answer)
        return answer

    def insist(self, method: str, path: str, *, seconds: float = 60.0, **request: Any) -> Answer:
        """Ask until there is an answer other than 503, as a client with an idempotency key may."""
        deadline, key = time.monotonic() + seconds, uuid.uuid4().hex
        while True:
            try:
                answer = self.call(method, path, key=key if method == "POST" else None, **request)
            except httpx2.TransportError:
                answer = None
            if answer is not None and answer.status != 503:
                return answer
            assert time.monotonic() < deadline, f"{method} {path}: no answer within {seconds:g} s"
            time.sleep(0.2)

    def upload(self, archive: Path) -> str:
        """Upload an archive, wait until it was read and return the dataset's id."""
        dataset_id = self.insist("POST", "/datasets", sent=archive.read_bytes()).body["id"]
        until(lambda: self.get(f"/datasets/{dataset_id}")["status"] == "ready", "the dataset is ready")
        return dataset_id

    def submit(self, dataset_id: str, config: dict[str, Any], **fields: Any) -> str:
        """Queue a training and return its id."""
        body = {"dataset_id": dataset_id, "config": config, **fields}
        answer = self.insist("POST", "/jobs", json=body)
        assert answer.status == 202, answer
        return answer.body["id"]

    def evaluate(self, job_id: str, dataset_id: str) -> str:
        """Have a job's model looked at on every image of a dataset and return the evaluation's id."""
        body = {"dataset_id": dataset_id, "split": "all"}
        answer = self.insist("POST", f"/jobs/{job_id}/evaluate", json=body)
        assert answer.status == 202, answer
        return answer.body["id"]

    def wait_for_evaluation(self, evaluation_id: str, *, seconds: float = 90.0) -> dict[str, Any]:
        """Wait until an evaluation has ended, and return it."""
        path = f"/evaluations/{evaluation_id}"
        until(lambda: self.get(path)["status"] in _ENDED, f"{evaluation_id} ends", seconds)
        return self.get(path)

    def act(self, job_id: str, verb: str, **body: Any) -> Answer:
        """Cancel, pause, resume, stop or retry a job."""
        return self.insist("POST", f"/jobs/{job_id}/{verb}", json=body)

    def get(self, path: str) -> Any:
        """Return what is at a path, as JSON."""
        answer = self.insist("GET", path)
        assert answer.status == 200, answer
        return answer.body

    def items(self, path: str) -> Iterator[dict[str, Any]]:
        """Yield what a list has, page by page."""
        cursor, mark = "", "&" if "?" in path else "?"
        while cursor is not None:
            page = self.get(f"{path}{mark}limit=200{cursor and '&cursor='}{cursor}")
            yield from page["items"]
            cursor = page["next_cursor"]

    def drop(self, content: bytes, *, share: float) -> None:
        """Begin to upload an archive, and break the connection when that share of its bytes was sent."""

        def body() -> Iterator[bytes]:
            yield content[: int(share * len(content))]
            raise _DroppedError

        headers = {"Content-Type": "application/zip", "Content-Length": str(len(content))}
        with contextlib.suppress(_DroppedError, httpx2.TransportError):
            self._http.post("/datasets", headers=headers, content=body())

    def slowest(self, *, since: float) -> float:
        """Return how many seconds the slowest answer took of those asked for since then, in seconds since 1970."""
        return max((one.answered_at - one.asked_at for one in self.answers if one.asked_at >= since), default=0.0)

    def job(self, job_id: str) -> dict[str, Any]:
        """Return a job."""
        return self.get(f"/jobs/{job_id}")

    def epochs(self, job_id: str) -> list[int]:
        """Return the numbers of the epochs so far."""
        return [epoch["epoch"] for epoch in self.get(f"/jobs/{job_id}/epochs")["items"]]

    def ends(self, job_id: str) -> list[str | None]:
        """Return why each attempt of a job ended."""
        return [attempt["end"] for attempt in self.get(f"/jobs/{job_id}/attempts")["items"]]

    def weights(self, job_id: str) -> str:
        """Return the hash of a job's final weights, to the bit."""
        artifacts = self.get(f"/jobs/{job_id}/artifacts")["items"]
        return next(one["sha256"] for one in artifacts if one["name"] == "model.pth")

    def wait(self, job_id: str, *, statuses: Sequence[str] = _ENDED, seconds: float = 90.0) -> dict[str, Any]:
        """Wait until a job has one of the statuses, and return it."""
        until(lambda: self.job(job_id)["status"] in statuses, f"{job_id} is {' or '.join(statuses)}", seconds)
        return self.job(job_id)
