"""What a model sees in an image: the maps of its convolutions, and what its answer rests on."""

import io

import numpy as np
import numpy.typing as npt
from flask import Response, request
from flask_openapi.blueprint import APIBlueprint
from PIL import Image
from werkzeug.exceptions import NotAcceptable

from api.answers import answer
from api.auth import BASE_PATH
from api.documents import SECURITY, TAGS, problems
from api.images import describe_image, read_image
from api.ports import ports
from api.routes.results import find_predictor
from api.schemas.explanations import (
    FeatureMaps,
    SaliencyMap,
    SaliencyQuery,
    shape_feature_maps,
    shape_saliency,
)
from api.schemas.paths import JobPath
from core.errors import Fault, InvalidError
from core.inference.drawing import draw_feature_maps, draw_saliency
from core.inference.predictions import Form, map_images
from core.inference.predictor import Predictor
from core.inference.saliency import measure_saliency

routes = APIBlueprint(
    "explanations",
    __name__,
    url_prefix=BASE_PATH,
    abp_tags=[TAGS["results"]],
    abp_security=SECURITY,
    abp_responses=problems(406, 409, 413),
)
_CLASSES_TOLD = 20
_PNG, _JSON = "image/png", "application/json"


@routes.post(
    "/jobs/<id:job_id>/feature-maps",
    request_body=describe_image(),
    responses={200: FeatureMaps},
)
def show_feature_maps(path: JobPath) -> Response:
    """Show what each convolution makes of an image: a PNG, or the arrays with `Accept: application/json`."""
    as_json = _wants_json()
    predictor = find_predictor(path.job_id)
    filename, pixels = _read(predictor)
    maps = [layer[0] for layer in predictor.feature_maps(pixels[None])]
    if as_json:
        return answer(shape_feature_maps(filename, maps))
    return _send(draw_feature_maps(filename, pixels, maps))


@routes.post(
    "/jobs/<id:job_id>/saliency",
    request_body=describe_image(),
    responses={200: SaliencyMap},
)
def show_saliency(path: JobPath, query: SaliencyQuery) -> Response:
    """Show which parts of an image an answer rests on, by covering one after another: a PNG, or values as JSON."""
    as_json = _wants_json()
    predictor = find_predictor(path.job_id)
    index = _find_class(predictor, query.class_name)
    filename, pixels = _read(predictor)
    saliency = measure_saliency(predictor, pixels, class_index=index)
    name = predictor.classes[saliency.class_index]
    if as_json:
        return answer(shape_saliency(filename, saliency, name))
    return _send(draw_saliency(filename, pixels, saliency, name))


def _wants_json() -> bool:
    """Return whether the client wants values and not a picture; raises `NotAcceptable` where it takes neither."""
    if not request.accept_mimetypes:
        return False
    wanted = request.accept_mimetypes.best_match([_PNG, _JSON])
    if wanted is None:
        raise NotAcceptable
    return wanted == _JSON


def _find_class(predictor: Predictor, name: str | None) -> int | None:
    if name is None:
        return None
    if name not in predictor.classes:
        known = ", ".join(predictor.classes[:_CLASSES_TOLD])
        more = ", …" if len(predictor.classes) > _CLASSES_TOLD else ""
        fault = Fault("/class", f"is no class of the model; it has {known}{more}")
        raise InvalidError("The model has no such class.", faults=[fault])
    return predictor.classes.index(name)


def _read(predictor: Predictor) -> tuple[str, npt.NDArray[np.uint8]]:
    """Return the name of the image that the request sends, and its pixels as the model takes them."""
    form = Form(predictor.metadata.image_size, predictor.metadata.color_mode)
    ((names, pixels),) = map_images(
        lambda pixels: pixels[form],
        [read_image()],
        [form],
        max_pixels=ports().settings.image_max_pixels,
        read=ports().decoders.reader(),
    )
    return names[0], pixels[0]


def _send(picture: Image.Image) -> Response:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return Response(buffer.getvalue(), content_type=_PNG)
