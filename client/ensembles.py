"""Ensembles: models that vote."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from client.answers import PAGE_ITEMS, follow, parse, poll, to_segment
from client.errors import EnsembleFailedError
from client.predicting import download_model, predict
from client.transport import Call, OnProgress, Transport
from client.types import Ensemble, Page, VotedPrediction


class Ensembles:
    """Ensembles: models that vote."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        job_ids: Sequence[str],
        *,
        voting: str | None = None,
        weights: Sequence[float] | None = None,
        name: str | None = None,
    ) -> Ensemble:
        """Let jobs that have succeeded vote.

        Args:
            job_ids: 2 to 25 jobs on the same class names.
            voting: ``soft``, the default, counts probabilities; ``hard`` counts votes.
            weights: What each member counts; all the same where it is left out.
            name: A name for people.

        Raises:
            InvalidRequestError: ``incompatible_members``: every job that cannot vote with the others is named.
        """
        return self._create({"job_ids": list(job_ids)}, voting=voting, weights=weights, name=name)

    def train(
        self,
        dataset_id: str,
        configs: Sequence[Mapping[str, Any]],
        *,
        voting: str | None = None,
        weights: Sequence[float] | None = None,
        name: str | None = None,
        priority: int | None = None,
        tags: Sequence[str] = (),
    ) -> Ensemble:
        """Queue a training for each config and return the ensemble that they will form; `wait` waits for it.

        ``priority`` and ``tags`` are those of the members' jobs; the rest is as with `create`.

        Raises:
            InvalidRequestError: Configs cannot work: every fault is listed, and nothing is queued.
        """
        body = {"dataset_id": dataset_id, "members": [dict(config) for config in configs]}
        more = {"priority": priority, "tags": list(tags) or None}
        return self._create(body, voting=voting, weights=weights, name=name, **more)

    def _create(self, body: dict[str, Any], **options: Any) -> Ensemble:
        given = {name: value for name, value in options.items() if value is not None}
        if "weights" in given:
            given["weights"] = list(given["weights"])
        return parse(Ensemble, self._transport.fetch(Call("POST", "/ensembles", json=body | given, creates=True)))

    def list(self, *, limit: int = 50, cursor: str | None = None) -> Page[Ensemble]:
        """Return one page of ensembles, newest first; ``limit`` is 1-200."""
        params = {"limit": limit, "cursor": cursor}
        return parse(Page[Ensemble], self._transport.fetch(Call("GET", "/ensembles", params=params)))

    def iterate(self) -> Iterator[Ensemble]:
        """Yield every ensemble, newest first."""
        return follow(lambda cursor: self.list(limit=PAGE_ITEMS, cursor=cursor))

    def get(self, ensemble_id: str) -> Ensemble:
        """Return an ensemble."""
        return parse(Ensemble, self._transport.fetch(Call("GET", self._path(ensemble_id))))

    def delete(self, ensemble_id: str) -> None:
        """Delete an ensemble; its members stay. `ConflictError` while it is a version of a model."""
        self._transport.fetch(Call("DELETE", self._path(ensemble_id)))

    def wait(
        self,
        ensemble_id: str,
        *,
        on_update: Callable[[Ensemble], None] | None = None,
        timeout_seconds: float | None = None,
    ) -> Ensemble:
        """Wait until an ensemble is ready and return it.

        Raises:
            EnsembleFailedError: A member ended without a model; the error says which and why.
            WaitTimeoutError: Members still trained after ``timeout_seconds``.
        """
        ensemble = poll(
            lambda: self.get(ensemble_id),
            lambda seen: seen.status in {"ready", "failed"},
            on_update=on_update,
            timeout_seconds=timeout_seconds,
            sleep=self._transport.sleep,
        )
        if ensemble.status == "failed":
            raise EnsembleFailedError(ensemble)
        return ensemble

    def predict(
        self, ensemble_id: str, paths: Sequence[str | Path], *, top_k: int | None = None
    ) -> Sequence[VotedPrediction]:
        """Return what the members take each image for, with their votes; arguments and errors as `Jobs.predict`."""
        return predict(self._transport, self._path(ensemble_id), paths, top_k=top_k, kind=VotedPrediction)

    def download(self, ensemble_id: str, path: str | Path, *, on_progress: OnProgress | None = None) -> Path:
        """Download the ensemble as one ONNX file that votes inside; returns where it is.

        Args:
            ensemble_id: An ensemble that is ready.
            path: A file, or a folder to put ``model.onnx`` into.
            on_progress: Called with (received, total) bytes after each piece.
        """
        return download_model(self._transport, self._path(ensemble_id), path, on_progress=on_progress)

    @staticmethod
    def _path(ensemble_id: str) -> str:
        return f"/ensembles/{to_segment(ensemble_id)}"
