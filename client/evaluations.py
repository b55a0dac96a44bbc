"""Evaluations: trained models looked at on other images."""

from collections.abc import Callable, Iterator

from client.answers import PAGE_ITEMS, follow, parse, poll, to_segment
from client.errors import EvaluationFailedError
from client.transport import Call, Transport
from client.types import Evaluation, Page, Report


class Evaluations:
    """Evaluations: trained models looked at on other images."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def submit(self, job_id: str, dataset_id: str, *, split: str | None = None) -> Evaluation:
        """Queue a look of a job's model at a dataset of the same class names.

        Args:
            job_id: A job that has succeeded.
            dataset_id: A dataset that is ready.
            split: ``test``, the default, ``train``, ``validation`` or ``all``.

        Raises:
            InvalidRequestError: ``incompatible_dataset``: every class that only one of them has is named.
        """
        body = {"dataset_id": dataset_id} | ({"split": split} if split else {})
        call = Call("POST", f"/jobs/{to_segment(job_id)}/evaluate", json=body, creates=True)
        return parse(Evaluation, self._transport.fetch(call))

    def list(self, *, job_id: str | None = None, limit: int = 50, cursor: str | None = None) -> Page[Evaluation]:
        """Return one page of evaluations, of one job where it is named, newest first; ``limit`` is 1-200."""
        params = {"job_id": job_id, "limit": limit, "cursor": cursor}
        return parse(Page[Evaluation], self._transport.fetch(Call("GET", "/evaluations", params=params)))

    def iterate(self, *, job_id: str | None = None) -> Iterator[Evaluation]:
        """Yield every evaluation, newest first."""
        return follow(lambda cursor: self.list(job_id=job_id, limit=PAGE_ITEMS, cursor=cursor))

    def get(self, evaluation_id: str) -> Evaluation:
        """Return an evaluation."""
        return parse(Evaluation, self._transport.fetch(Call("GET", self._path(evaluation_id))))

    def report(self, evaluation_id: str) -> Report:
        """Return the metrics on these images of an evaluation that succeeded."""
        return parse(Report, self._transport.fetch(Call("GET", f"{self._path(evaluation_id)}/report")))

    def delete(self, evaluation_id: str) -> None:
        """Delete an evaluation with its report; one that waits or runs is given up."""
        self._transport.fetch(Call("DELETE", self._path(evaluation_id)))

    def wait(
        self,
        evaluation_id: str,
        *,
        on_update: Callable[[Evaluation], None] | None = None,
        timeout_seconds: float | None = None,
    ) -> Evaluation:
        """Wait until an evaluation has succeeded and return it.

        Raises:
            EvaluationFailedError: It failed; the error says why.
            WaitTimeoutError: It had not ended after ``timeout_seconds``.
        """
        evaluation = poll(
            lambda: self.get(evaluation_id),
            lambda seen: seen.status in {"succeeded", "failed"},
            on_update=on_update,
            timeout_seconds=timeout_seconds,
            sleep=self._transport.sleep,
        )
        if evaluation.status == "failed":
            raise EvaluationFailedError(evaluation)
        return evaluation

    @staticmethod
    def _path(evaluation_id: str) -> str:
        return f"/evaluations/{to_segment(evaluation_id)}"
