"""Jobs: trainings, and what they leave."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from client.answers import PAGE_ITEMS, follow, parse, parse_items, poll, to_segment
from client.errors import DamagedDownloadError, JobCancelledError, JobFailedError
from client.files import replacing
from client.predicting import draw, look, predict
from client.reproduction import WEIGHTS, Trained, compare, repeat
from client.transport import Call, OnProgress, Transport
from client.types import (
    Artifact,
    Attempt,
    Epoch,
    FeatureMaps,
    Job,
    LogLine,
    Page,
    Plan,
    Prediction,
    Report,
    Reproduction,
    SaliencyMap,
)


class Jobs:
    """Jobs: trainings, and what they leave."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def submit(
        self,
        dataset_id: str,
        config: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        priority: int | None = None,
        tags: Sequence[str] = (),
        from_job: str | None = None,
        warm_start: bool = False,
    ) -> Job:
        """Queue a training.

        Args:
            dataset_id: A dataset that is ready.
            config: Training options; what is left out has a default, so that ``{}`` trains a good model.
            name: A name for people.
            priority: 0-9; 9 runs first, 5 is the default.
            tags: Words to find it by.
            from_job: A job whose config is the base.
            warm_start: Start from the weights of ``from_job``.

        Raises:
            InvalidRequestError: Something is wrong with the config: every fault is listed.
            ConflictError: The dataset is not ready, or was rejected.
        """
        body = _job_body(
            dataset_id, config, name=name, priority=priority, tags=tags, from_job=from_job, warm_start=warm_start
        )
        return parse(Job, self._transport.fetch(Call("POST", "/jobs", json=body, creates=True)))

    def validate(
        self, dataset_id: str, config: Mapping[str, Any] | None = None, *, from_job: str | None = None
    ) -> Plan:
        """Return what a job would be, with an estimate of its time; nothing is stored. Raises as `submit`."""
        body = {**_job_body(dataset_id, config, from_job=from_job), "validate_only": True}
        return parse(Plan, self._transport.fetch(Call("POST", "/jobs", json=body)))

    def list(
        self,
        *,
        status: str | None = None,
        dataset_id: str | None = None,
        tag: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Job]:
        """Return one page of jobs, newest first; ``limit`` is 1-200."""
        params = {"status": status, "dataset_id": dataset_id, "tag": tag, "limit": limit, "cursor": cursor}
        return parse(Page[Job], self._transport.fetch(Call("GET", "/jobs", params=params)))

    def iterate(
        self, *, status: str | None = None, dataset_id: str | None = None, tag: str | None = None
    ) -> Iterator[Job]:
        """Yield every job, newest first."""
        return follow(
            lambda cursor: self.list(status=status, dataset_id=dataset_id, tag=tag, limit=PAGE_ITEMS, cursor=cursor)
        )

    def get(self, job_id: str) -> Job:
        """Return a job."""
        return parse(Job, self._fetch(job_id))

    def epochs(self, job_id: str) -> Sequence[Epoch]:
        """Return every epoch so far, oldest first."""
        return parse_items(Epoch, self._fetch(job_id, "epochs"))

    def attempts(self, job_id: str) -> Sequence[Attempt]:
        """Return the workers' holds on a job and why each ended, oldest first."""
        return parse_items(Attempt, self._fetch(job_id, "attempts"))

    def logs(self, job_id: str, *, after: int = 0) -> Sequence[LogLine]:
        """Return the worker's log lines of a job, oldest first: those after the one with the id ``after``."""
        lines: list[LogLine] = []
        while found := self._logs_after(job_id, after):
            lines += found
            after = found[-1].id
        return lines

    def cancel(self, job_id: str) -> Job:
        """Cancel a job, also in the middle of an epoch; cancelling twice is no error."""
        return self._act(job_id, "cancel", repeatable=True)

    def pause(self, job_id: str) -> Job:
        """Pause a running job at its next checkpoint."""
        return self._act(job_id, "pause")

    def resume(self, job_id: str) -> Job:
        """Queue a paused job again; it goes on from its checkpoint."""
        return self._act(job_id, "resume")

    def stop(self, job_id: str) -> Job:
        """End a running job after its epoch and keep the model: it succeeds."""
        return self._act(job_id, "stop")

    def retry(self, job_id: str, *, from_checkpoint: bool = False) -> Job:
        """Start a failed or cancelled job anew, or from its last checkpoint."""
        return self._act(job_id, "retry", body={"from": "checkpoint"} if from_checkpoint else None)

    def delete(self, job_id: str) -> None:
        """Delete a job that has ended, with its artifacts."""
        self._transport.fetch(Call("DELETE", f"/jobs/{to_segment(job_id)}"))

    def wait(
        self,
        job_id: str,
        *,
        on_update: Callable[[Job], None] | None = None,
        timeout_seconds: float | None = None,
    ) -> Job:
        """Wait until a job has succeeded and return it.

        Args:
            job_id: The job.
            on_update: Called with the job first, and each time that it has changed.
            timeout_seconds: How long to wait at most.

        Raises:
            JobFailedError: It failed; the error says why.
            JobCancelledError: Somebody cancelled it.
            WaitTimeoutError: It had not ended after ``timeout_seconds``.
        """
        job = poll(
            lambda: self.get(job_id),
            lambda seen: seen.ended,
            on_update=on_update,
            timeout_seconds=timeout_seconds,
            sleep=self._transport.sleep,
        )
        if job.status == "failed":
            raise JobFailedError(job)
        if job.status == "cancelled":
            raise JobCancelledError(job)
        return job

    def report(self, job_id: str) -> Report:
        """Return the test metrics of a job that succeeded."""
        return parse(Report, self._fetch(job_id, "report"))

    def artifacts(self, job_id: str) -> Sequence[Artifact]:
        """Return the files of a job that succeeded."""
        return parse_items(Artifact, self._fetch(job_id, "artifacts"))

    def download(self, job_id: str, name: str, path: str | Path, *, on_progress: OnProgress | None = None) -> Path:
        """Download an artifact; nothing stands at ``path`` until every byte is there and its SHA-256 is right.

        Args:
            job_id: A job that succeeded.
            name: The artifact's, as ``model.pth``.
            path: A file, or a folder to put it into.
            on_progress: Called with (received, total) bytes after each piece.

        Returns:
            Where it is now.

        Raises:
            NotFoundError: The job has no such artifact.
            DamagedDownloadError: What came is not what is stored.
            InputError: The file cannot be written.
        """
        target = Path(path) / Path(name).name if Path(path).is_dir() else Path(path)
        with replacing(target) as file:
            self.receive(job_id, name, file, on_progress=on_progress)
        return target

    def receive(self, job_id: str, name: str, file: IO[bytes], *, on_progress: OnProgress | None = None) -> None:
        """Write an artifact's bytes to an open file; raises as `download` where they are not the stored ones."""
        expected = {artifact.name: artifact.sha256 for artifact in self.artifacts(job_id)}.get(name)
        url = f"/jobs/{to_segment(job_id)}/artifacts/{to_segment(name)}"
        received = self._transport.download(url, file, on_progress=on_progress)
        _check_stored(name, expected, received.sha256)

    def plot(self, job_id: str, name: str) -> bytes:
        """Return a plot of a job as a PNG file.

        Args:
            job_id: A job that succeeded; ``history`` serves a job in any state.
            name: One of `client.types.PLOTS`.

        Raises:
            NotFoundError: There is no plot of that name.
            ConflictError: The job has not succeeded.
        """
        return self._transport.fetch_bytes(Call("GET", f"/jobs/{to_segment(job_id)}/plots/{to_segment(name)}.png"))

    def reproduce(self, job_id: str, *, on_update: Callable[[Job], None] | None = None) -> Reproduction:
        """Train a job that succeeded again, on the same dataset by the same whole config, and compare the weights.

        Args:
            job_id: The job to repeat.
            on_update: Called with the new job first, and each time that it has changed.

        Raises:
            InputError: It was stopped by hand, so that its config alone does not say when it ended; or it is older than
                provenance.
            ConflictError: It has not succeeded.
            JobFailedError, JobCancelledError: The new job came to nothing.
        """
        again = self.submit(**repeat(self.get(job_id), self.report(job_id)))
        self.wait(again.id, on_update=on_update)
        return compare(self._find_trained(job_id), self._find_trained(again.id))

    def predict(self, job_id: str, paths: Sequence[str | Path], *, top_k: int | None = None) -> Sequence[Prediction]:
        """Return what the job's model takes each image for, in the order given; ``top_k`` classes of each.

        A ``.zip`` among the paths stands for the images in it.

        Raises:
            InputError: A file cannot be read.
            InvalidRequestError: A file is not an image; the error names it.
        """
        return predict(self._transport, self._path(job_id), paths, top_k=top_k, kind=Prediction)

    def feature_maps(self, job_id: str, path: str | Path) -> FeatureMaps:
        """Return what each convolution of the job's model makes of an image; errors as `predict`."""
        return parse(FeatureMaps, look(self._transport, self._path(job_id), "feature-maps", path))

    def draw_feature_maps(self, job_id: str, path: str | Path) -> bytes:
        """Return the same as a PNG."""
        return draw(self._transport, self._path(job_id), "feature-maps", path)

    def saliency(self, job_id: str, path: str | Path, *, class_name: str | None = None) -> SaliencyMap:
        """Return which parts of an image the probability of a class, by default the likeliest, rests on."""
        return parse(
            SaliencyMap, look(self._transport, self._path(job_id), "saliency", path, params={"class": class_name})
        )

    def draw_saliency(self, job_id: str, path: str | Path, *, class_name: str | None = None) -> bytes:
        """Return the same as a PNG."""
        return draw(self._transport, self._path(job_id), "saliency", path, params={"class": class_name})

    def _find_trained(self, job_id: str) -> Trained:
        digests = {artifact.name: artifact.sha256 for artifact in self.artifacts(job_id)}
        causes = dict(self.report(job_id).provenance)
        exact = [attempt.exact_resume for attempt in self.attempts(job_id)]
        if exact[-1:] not in ([], [None]):
            causes["exact_resume"] = str(exact[-1]).lower()
        return Trained(job_id, digests.get(WEIGHTS), causes, lambda: self._receive_whole(job_id, WEIGHTS))

    def _receive_whole(self, job_id: str, name: str) -> bytes:
        file = io.BytesIO()
        self.receive(job_id, name, file)
        return file.getvalue()

    @staticmethod
    def _path(job_id: str) -> str:
        return f"/jobs/{to_segment(job_id)}"

    def _fetch(self, job_id: str, part: str = "", *, params: Mapping[str, Any] | None = None) -> Any:
        path = f"/jobs/{to_segment(job_id)}" + (f"/{part}" if part else "")
        return self._transport.fetch(Call("GET", path, params=params or {}))

    def _logs_after(self, job_id: str, after: int) -> Sequence[LogLine]:
        # The platform answers so many at once. A line that was there already would ask for the same ones for ever.
        found = parse_items(LogLine, self._fetch(job_id, "logs", params={"after": after}))
        return [line for line in found if line.id > after]

    def _act(self, job_id: str, action: str, *, body: Mapping[str, Any] | None = None, repeatable: bool = False) -> Job:
        call = Call("POST", f"/jobs/{to_segment(job_id)}/{action}", json=body, repeatable=repeatable)
        return parse(Job, self._transport.fetch(call))


def _job_body(dataset_id: str, config: Mapping[str, Any] | None, **options: Any) -> dict[str, Any]:
    given = {name: value for name, value in options.items() if value}
    if options.get("priority") is not None:
        given["priority"] = options["priority"]
    if "tags" in given:
        given["tags"] = list(given["tags"])
    return {"dataset_id": dataset_id, "config": dict(config or {}), **given}


def _check_stored(name: str, expected: str | None, received: str) -> None:
    if expected is not None and expected != received:
        raise DamagedDownloadError(f"{name} was damaged on its way: its SHA-256 is {received}, not {expected}.")
