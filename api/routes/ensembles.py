"""Ensembles: models that vote."""

import json
from collections.abc import Callable, Sequence
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
from api.ensembles import MODEL, compare_classes, find_ballots, find_merged, get_merged, load_voters, measure_vote
from api.idempotency import Created, create
from api.images import describe_images, read_images
from api.paging import shape_page
from api.ports import ports
from api.request_ids import request_id
from api.schemas.base import Creation, Items, Page, PageQuery
from api.schemas.ensembles import Ensemble, EnsembleRequest, VotedPredictions, shape_ensemble
from api.schemas.paths import EnsemblePath
from api.schemas.results import Artifact, PredictQuery
from api.uploads import discard_prefix
from core.db.engine import transaction
from core.inference.ensembles import predict_by_vote
from core.services import ensembles
from core.services.ensembles import Ensemble as Stored
from core.services.messages import WakeUp
from core.storage import keys

routes = APIBlueprint(
    "ensembles",
    __name__,
    url_prefix=BASE_PATH,
    abp_tags=[TAGS["ensembles"]],
    abp_security=SECURITY,
    abp_responses=problems(),
)
_MEDIA_TYPE = "application/octet-stream"


@routes.post("/ensembles", responses={**problems(409, 413), 201: Ensemble, 202: Ensemble})
def form_ensemble(header: Creation, body: EnsembleRequest) -> Response:
    """Let jobs that have succeeded vote, or train the members first: `dataset_id` and a config for each."""
    work = partial(_train_members, body) if body.job_ids is None else _prepare(body, body.job_ids)
    content = json.dumps(strict_request().get_json(), sort_keys=True).encode()
    given = create(header, content=content, work=work)
    return answer_again(given.body, status=given.status, location=given.location)


def _prepare(body: EnsembleRequest, job_ids: list[str]) -> Callable[[Session], Created]:
    """Look at the members, which takes the store, and return what then stores the ensemble in one transaction."""
    wanted, tenant_id = body.to_new_ensemble(), principal().tenant_id
    classes, metrics = compare_classes(job_ids), measure_vote(job_ids, wanted)

    def work(session: Session) -> Created:
        stored = ensembles.create_ensemble(session, tenant_id, job_ids, wanted, classes=classes, metrics=metrics)
        note(session, stored.row.id, job_ids=job_ids)
        return _created(stored, 201)

    return work


def _train_members(body: EnsembleRequest, session: Session) -> Created:
    stored, wake_ups = ensembles.create_cast(
        session,
        principal().tenant_id,
        body.to_new_cast(),
        actor=principal().key_id,
        request_id=request_id(),
        max_attempts=ports().settings.max_attempts,
        limits=ports().settings.limits,
    )
    note(session, stored.row.id, job_ids=[member.job_id for member in stored.members])
    return _created(stored, 202, wake_ups)


def _created(stored: Stored, status: int, wake_ups: Sequence[WakeUp] = ()) -> Created:
    return Created(shape_ensemble(stored), status, f"{BASE_PATH}/ensembles/{stored.row.id}", tuple(wake_ups))


@routes.get("/ensembles", responses={200: Page[Ensemble]})
def list_ensembles(query: PageQuery) -> Response:
    """List ensembles, newest first."""
    with transaction(ports().sessions, read_only=True) as session:
        page = ensembles.list_ensembles(session, principal().tenant_id, limit=query.limit, cursor=query.cursor)
    return answer(shape_page(Ensemble, page, shape_ensemble))


@routes.get("/ensembles/<id:ensemble_id>", responses={200: Ensemble})
def show_ensemble(path: EnsemblePath) -> Response:
    """Show an ensemble with the test accuracy of each member and of the vote."""
    with transaction(ports().sessions, read_only=True) as session:
        return answer(shape_ensemble(ensembles.get_ensemble(session, principal().tenant_id, path.ensemble_id)))


@routes.delete("/ensembles/<id:ensemble_id>", responses={**problems(409), 204: None})
def delete_ensemble(path: EnsemblePath) -> Response:
    """Delete an ensemble; its members stay, and go on where they still train."""
    tenant_id = principal().tenant_id
    with transaction(ports().sessions) as session:
        ensembles.delete_ensemble(session, tenant_id, path.ensemble_id)
        note(session, path.ensemble_id)
    discard_prefix(keys.ensemble_prefix(tenant_id, path.ensemble_id))
    return no_content()


@routes.post(
    "/ensembles/<id:ensemble_id>/predict",
    request_body=describe_images(),
    responses={**problems(409, 413), 200: VotedPredictions},
)
def predict(path: EnsemblePath, query: PredictQuery) -> Response:
    """Have the members vote on images, in the order in which they are sent or stand in the ZIP."""
    return answer(vote(path.ensemble_id, top_k=query.top_k))


def vote(ensemble_id: str, *, top_k: int) -> VotedPredictions:
    """Return what an ensemble decides on the images of this request."""
    ballots = find_ballots(ensemble_id)
    images = read_images()
    predictions = predict_by_vote(
        load_voters(ballots),
        images,
        voting=ballots.voting,
        top_k=top_k,
        max_pixels=ports().settings.image_max_pixels,
        read=ports().decoders.reader(),
    )
    return VotedPredictions(predictions=predictions)


@routes.get("/ensembles/<id:ensemble_id>/artifacts", responses={**problems(409), 200: Items[Artifact]})
def list_artifacts(path: EnsemblePath) -> Response:
    """List the files of an ensemble: one, which votes inside; none while a worker makes it."""
    file = find_merged(path.ensemble_id)
    shown = file and Artifact(name=MODEL, media_type=_MEDIA_TYPE, size_bytes=file.size_bytes, sha256=file.sha256)
    return answer(Items[Artifact](items=[shown] if shown else []))


@routes.get(
    f"/ensembles/<id:ensemble_id>/artifacts/{MODEL}",
    responses=download_responses("The file.", _MEDIA_TYPE),
)
def download_model(path: EnsemblePath) -> Response:
    """Download the ensemble as one ONNX file, which votes inside; its `ETag` is its SHA-256."""
    return send(ports().store, Download(get_merged(path.ensemble_id), MODEL, _MEDIA_TYPE))
