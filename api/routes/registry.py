"""The registry: named models, their versions and aliases, and predictions by name."""

import json
from functools import partial

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from sqlalchemy.orm import Session

from api.answers import answer, answer_again, no_content
from api.audit import note
from api.auth import BASE_PATH, principal
from api.bodies import strict_request
from api.documents import SECURITY, TAGS, download_responses, problems
from api.downloads import Download, send
from api.ensembles import MODEL, get_merged
from api.idempotency import Created, create
from api.images import describe_images
from api.models import StoredFile
from api.paging import shape_page
from api.ports import ports
from api.routes.ensembles import vote
from api.routes.results import find_model_file, predict_with_job
from api.schemas.base import Creation, Items, Page, PageQuery
from api.schemas.paths import AliasPath, ModelPath, ModelReferencePath, VersionPath
from api.schemas.registry import (
    Alias,
    AliasChange,
    AliasRequest,
    Model,
    ModelRequest,
    ModelVersion,
    VersionQuery,
    VersionRequest,
    shape_alias,
    shape_changes,
    shape_model,
    shape_version,
    shape_versions,
)
from api.schemas.results import NamedPredictions, PredictQuery
from core.db.engine import reading, transaction
from core.services import registry
from core.services.registry import Source

routes = APIBlueprint(
    "registry",
    __name__,
    url_prefix=BASE_PATH,
    abp_tags=[TAGS["models"]],
    abp_security=SECURITY,
    abp_responses=problems(),
)
_MEDIA_TYPE = "application/octet-stream"


@routes.post("/models", responses={**problems(409, 413), 201: Model})
def create_model(header: Creation, body: ModelRequest) -> Response:
    """Give versions of a model a name."""
    return _create(header, partial(_store_model, body))


def _store_model(body: ModelRequest, session: Session) -> Created:
    who = principal()
    model = registry.create_model(session, who.tenant_id, body.name, description=body.description, actor=who.key_id)
    note(session, body.name)
    return Created(shape_model(model), 201, f"{BASE_PATH}/models/{body.name}")


@routes.get("/models", responses={200: Page[Model]})
def list_models(query: PageQuery) -> Response:
    """List named models, newest first."""
    with transaction(ports().sessions, read_only=True) as session:
        page = registry.list_models(session, principal().tenant_id, limit=query.limit, cursor=query.cursor)
    return answer(shape_page(Model, page, shape_model))


@routes.get("/models/<name:name>", responses={200: Model})
def show_model(path: ModelPath) -> Response:
    """Show a named model with its aliases."""
    with transaction(ports().sessions, read_only=True) as session:
        return answer(shape_model(registry.get_model(session, principal().tenant_id, path.name)))


@routes.delete("/models/<name:name>", responses={**problems(409), 204: None})
def delete_model(path: ModelPath) -> Response:
    """Delete a name with its versions, which no alias points at any more; jobs and ensembles stay."""
    with transaction(ports().sessions) as session:
        registry.delete_model(session, principal().tenant_id, path.name)
        note(session, path.name)
    return no_content()


@routes.post("/models/<name:name>/versions", responses={**problems(409, 413), 201: ModelVersion})
def add_version(path: ModelPath, header: Creation, body: VersionRequest) -> Response:
    """Add the next version of a model: a job's, or an ensemble. It never changes, and keeps what it is made of."""
    return _create(header, partial(_store_version, path.name, body))


def _store_version(name: str, body: VersionRequest, session: Session) -> Created:
    who = principal()
    row = registry.add_version(
        session, who.tenant_id, name, body.to_source(), description=body.description, actor=who.key_id
    )
    note(session, name, version=row.version)
    return Created(shape_version(name, row), 201, f"{BASE_PATH}/models/{name}/versions/{row.version}")


@routes.get("/models/<name:name>/versions", responses={200: Page[ModelVersion]})
def list_versions(path: ModelPath, query: VersionQuery) -> Response:
    """List the versions of a model, newest first."""
    with transaction(ports().sessions, read_only=True) as session:
        rows, following = registry.list_versions(
            session, principal().tenant_id, path.name, limit=query.limit, before=query.before
        )
    return answer(shape_versions(path.name, rows, following))


@routes.get("/models/<name:name>/versions/<version:version>", responses={200: ModelVersion})
def show_version(path: VersionPath) -> Response:
    """Show one version of a model."""
    with transaction(ports().sessions, read_only=True) as session:
        row = registry.get_version(session, principal().tenant_id, path.name, path.version)
    return answer(shape_version(path.name, row))


@routes.delete("/models/<name:name>/versions/<version:version>", responses={**problems(409), 204: None})
def delete_version(path: VersionPath) -> Response:
    """Delete a version that no alias points at; its number is never given again."""
    with transaction(ports().sessions) as session:
        registry.delete_version(session, principal().tenant_id, path.name, path.version)
        note(session, path.name, version=path.version)
    return no_content()


@routes.get("/models/<name:name>/aliases", responses={200: Items[Alias]})
def list_aliases(path: ModelPath) -> Response:
    """List the aliases of a model, who set each and when."""
    with transaction(ports().sessions, read_only=True) as session:
        model = registry.get_model(session, principal().tenant_id, path.name)
    return answer(Items[Alias](items=[shape_alias(row) for row in model.aliases]))


@routes.get("/models/<name:name>/history", responses={200: Items[AliasChange]})
def list_changes(path: ModelPath) -> Response:
    """List every change of a model's aliases, newest first."""
    return _list_changes(path.name, None)


@routes.get("/models/<name:name>/aliases/<alias:alias>/history", responses={200: Items[AliasChange]})
def list_changes_of_alias(path: AliasPath) -> Response:
    """List every change of an alias, newest first."""
    return _list_changes(path.name, path.alias)


def _list_changes(name: str, alias: str | None) -> Response:
    with transaction(ports().sessions, read_only=True) as session:
        rows = registry.list_changes(session, principal().tenant_id, name, alias=alias)
    return answer(Items[AliasChange](items=shape_changes(rows)))


@routes.get("/models/<name:name>/aliases/<alias:alias>", responses={200: Alias})
def show_alias(path: AliasPath) -> Response:
    """Show where an alias points, who set it there and when."""
    with transaction(ports().sessions, read_only=True) as session:
        return answer(shape_alias(registry.get_alias(session, principal().tenant_id, path.name, path.alias)))


@routes.put("/models/<name:name>/aliases/<alias:alias>", responses={**problems(413), 200: Alias})
def set_alias(path: AliasPath, body: AliasRequest) -> Response:
    """Let an alias point at a version; who did so, when, and what it was before is kept."""
    who = principal()
    with transaction(ports().sessions) as session:
        row = registry.set_alias(session, who.tenant_id, path.name, path.alias, body.version, actor=who.key_id)
        note(session, path.name, alias=path.alias, version=body.version)
    return answer(shape_alias(row))


@routes.delete("/models/<name:name>/aliases/<alias:alias>", responses={204: None})
def delete_alias(path: AliasPath) -> Response:
    """Take an alias away; its history stays."""
    who = principal()
    with transaction(ports().sessions) as session:
        registry.delete_alias(session, who.tenant_id, path.name, path.alias, actor=who.key_id)
        note(session, path.name, alias=path.alias)
    return no_content()


@routes.post(
    "/models/<name:name>@<reference:reference>/predict",
    request_body=describe_images(),
    responses={**problems(409, 413), 200: NamedPredictions},
)
def predict(path: ModelReferencePath, query: PredictQuery) -> Response:
    """Predict with the version that an alias, as `production`, points at, or that a number names."""
    source = _find_source(path)
    if source.ensemble_id is not None:
        return answer(vote(source.ensemble_id, top_k=query.top_k))
    assert source.job_id is not None
    return answer(predict_with_job(source.job_id, top_k=query.top_k))


@routes.get(
    f"/models/<name:name>@<reference:reference>/artifacts/{MODEL}",
    responses=download_responses("The file.", _MEDIA_TYPE),
)
def download_model(path: ModelReferencePath) -> Response:
    """Download the ONNX file of the version that an alias points at, or that a number names."""
    return send(ports().store, Download(_find_file(_find_source(path)), MODEL, _MEDIA_TYPE))


def _find_source(path: ModelReferencePath) -> Source:
    with reading(ports().sessions) as connection:
        return registry.find_source(connection, principal().tenant_id, path.name, path.reference)


def _find_file(source: Source) -> StoredFile:
    if source.ensemble_id is not None:
        return get_merged(source.ensemble_id)
    assert source.job_id is not None
    return find_model_file(source.job_id)


def _create(header: Creation, work: partial[Created]) -> Response:
    content = json.dumps(strict_request().get_json(), sort_keys=True).encode()
    given = create(header, content=content, work=work)
    return answer_again(given.body, status=given.status, location=given.location)
