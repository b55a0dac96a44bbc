"""The registry: names for models, their versions, and aliases that point at one of them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from client.answers import PAGE_ITEMS, follow, parse, parse_items, to_segment
from client.predicting import download_model, predict
from client.transport import Call, OnProgress, Transport
from client.types import Alias, AliasChange, ModelVersion, NamedModel, Page, VotedPrediction


class Models:
    """The registry: names for models, their versions, and aliases that point at one of them."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, name: str, *, description: str | None = None) -> NamedModel:
        """Give versions of a model a name; raises `ConflictError` (``model_exists``) where it is taken."""
        body = {"name": name} | ({"description": description} if description else {})
        return parse(NamedModel, self._transport.fetch(Call("POST", "/models", json=body, creates=True)))

    def list(self, *, limit: int = 50, cursor: str | None = None) -> Page[NamedModel]:
        """Return one page of models, newest first; ``limit`` is 1-200."""
        params = {"limit": limit, "cursor": cursor}
        return parse(Page[NamedModel], self._transport.fetch(Call("GET", "/models", params=params)))

    def iterate(self) -> Iterator[NamedModel]:
        """Yield every model, newest first."""
        return follow(lambda cursor: self.list(limit=PAGE_ITEMS, cursor=cursor))

    def get(self, name: str) -> NamedModel:
        """Return a model with its aliases."""
        return parse(NamedModel, self._fetch("GET", name))

    def delete(self, name: str) -> None:
        """Delete a name with its versions; jobs stay. `ConflictError` while an alias points at one of them."""
        self._fetch("DELETE", name)

    def add_version(
        self,
        name: str,
        *,
        job_id: str | None = None,
        ensemble_id: str | None = None,
        description: str | None = None,
    ) -> ModelVersion:
        """Add the next version, which never changes: a job's model, or an ensemble."""
        given = {"job_id": job_id, "ensemble_id": ensemble_id, "description": description}
        body = {key: value for key, value in given.items() if value is not None}
        call = Call("POST", f"{_path(name)}/versions", json=body, creates=True)
        return parse(ModelVersion, self._transport.fetch(call))

    def versions(self, name: str) -> Iterator[ModelVersion]:
        """Yield the versions of a model, newest first."""

        def page(cursor: str | None) -> Page[ModelVersion]:
            params = {"limit": PAGE_ITEMS, "cursor": cursor}
            return parse(Page[ModelVersion], self._fetch("GET", name, "versions", params=params))

        return follow(page)

    def get_version(self, name: str, version: int) -> ModelVersion:
        """Return one version of a model."""
        return parse(ModelVersion, self._fetch("GET", name, f"versions/{version}"))

    def delete_version(self, name: str, version: int) -> None:
        """Delete a version; `ConflictError` while an alias points at it. Its number is never given again."""
        self._fetch("DELETE", name, f"versions/{version}")

    def set_alias(self, name: str, alias: str, version: int) -> Alias:
        """Let an alias, as ``production``, point at a version."""
        call = Call("PUT", f"{_path(name)}/aliases/{to_segment(alias)}", json={"version": version})
        return parse(Alias, self._transport.fetch(call))

    def delete_alias(self, name: str, alias: str) -> None:
        """Take an alias away; its history stays."""
        self._fetch("DELETE", name, f"aliases/{to_segment(alias)}")

    def history(self, name: str, alias: str | None = None) -> Sequence[AliasChange]:
        """Return every change of a model's aliases, or of one of them, newest first: who, when, from and to."""
        part = "history" if alias is None else f"aliases/{to_segment(alias)}/history"
        return parse_items(AliasChange, self._fetch("GET", name, part))

    def predict(
        self, reference: str, paths: Sequence[str | Path], *, top_k: int | None = None
    ) -> Sequence[VotedPrediction]:
        """Return what a version takes each image for; arguments and errors as `Jobs.predict`.

        Args:
            reference: ``NAME@ALIAS`` or ``NAME@VERSION``.
            paths: Image files, and ZIPs of images.
            top_k: How many classes of each.
        """
        return predict(self._transport, _path(reference), paths, top_k=top_k, kind=VotedPrediction)

    def download(self, reference: str, path: str | Path, *, on_progress: OnProgress | None = None) -> Path:
        """Download the ONNX file of a version (``NAME@ALIAS`` or ``NAME@VERSION``) and return where it is."""
        return download_model(self._transport, _path(reference), path, on_progress=on_progress)

    def _fetch(self, method: str, name: str, part: str = "", *, params: dict[str, Any] | None = None) -> Any:
        path = _path(name) + (f"/{part}" if part else "")
        return self._transport.fetch(Call(method, path, params=params or {}))


def _path(name: str) -> str:
    return f"/models/{to_segment(name)}"
