import io

import numpy as np
import pytest
from PIL import Image

JOBS = "/api/v1/jobs"
LOOKS = ["feature-maps", "saliency"]


@pytest.fixture
def job_id(platform, model_file):
    return platform.make_succeeded_job({"model.onnx": ("application/octet-stream", model_file)})


@pytest.fixture
def half(make_image):
    """Return a picture whose right half is bright."""
    pixels = np.zeros((28, 28), np.uint8)
    pixels[:, 14:] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def look(client, job_id, part, *images, query="", **headers):
    parts = [(io.BytesIO(content), filename) for filename, content in images]
    return client.post(
        f"{JOBS}/{job_id}/{part}{query}",
        data={"image": parts},
        content_type="multipart/form-data",
        headers=headers,
    )


def look_for_values(client, job_id, part, *images, query=""):
    return look(client, job_id, part, *images, query=query, Accept="application/json")


@pytest.mark.parametrize("part", LOOKS)
@pytest.mark.parametrize("accept", [None, "*/*", "image/png", "text/html, image/*;q=0.5"])
def test_a_picture_is_the_answer_unless_values_are_asked_for(client, job_id, half, part, accept):
    response = look(client, job_id, part, ("half.png", half), **({"Accept": accept} if accept else {}))
    assert (response.status_code, response.content_type) == (200, "image/png")
    with Image.open(io.BytesIO(response.data)) as picture:
        assert min(picture.size) > 200


@pytest.mark.parametrize("part", LOOKS)
def test_a_client_that_takes_neither_gets_406(client, job_id, half, part):
    response = look(client, job_id, part, ("half.png", half), Accept="text/html")
    assert (response.status_code, response.content_type) == (406, "application/problem+json")


def test_the_arrays_are_those_of_the_model(client, job_id, half):
    answer = look_for_values(client, job_id, "feature-maps", ("half.png", half)).get_json()
    assert answer["filename"] == "half.png"
    (layer,) = answer["feature_maps"]
    assert (layer["convolution"], layer["shape"]) == (1, [2, 26, 26])
    maps = np.array(layer["maps"])
    assert maps.shape == (2, 26, 26)
    assert (maps[:, :, :12] == 0).all()
    assert (maps[:, :, 14:] == 9 * 255).all()


def test_the_bright_half_speaks_for_the_bright_class(client, job_id, half):
    answer = look_for_values(client, job_id, "saliency", ("half.png", half), query="?class=bee").get_json()
    heat = np.array(answer["heat"])
    assert (answer["class"], answer["class_index"], heat.shape) == ("bee", 1, (28, 28))
    assert heat[:, 20:].mean() > 0
    assert heat[:, :8].mean() < 0, "covering what is dark by the mean makes it brighter"


def test_the_class_is_the_likeliest_where_none_is_named(client, job_id, make_image):
    answer = look_for_values(client, job_id, "saliency", ("dark.png", make_image(0))).get_json()
    assert (answer["class"], answer["class_index"]) == ("ant", 0)
    assert answer["confidence"] > 0.9


def test_a_class_that_the_model_does_not_know_is_422(client, job_id, half):
    response = look(client, job_id, "saliency", ("half.png", half), query="?class=cat")
    (error,) = response.get_json()["errors"]
    assert (response.status_code, error["pointer"]) == (422, "/class")
    assert "ant, bee" in error["detail"], "which classes it has"


@pytest.mark.parametrize("part", LOOKS)
def test_one_image_is_looked_at_at_a_time(client, job_id, half, part):
    response = look(client, job_id, part, ("a.png", half), ("b.png", half))
    assert (response.status_code, response.get_json()["errors"][0]["pointer"]) == (422, "/image")


@pytest.mark.parametrize("part", LOOKS)
def test_an_image_that_cannot_be_read_is_named(client, job_id, part):
    response = look(client, job_id, part, ("broken.png", b"no picture"))
    assert (response.status_code, response.get_json()["code"]) == (422, "unreadable_image")
    assert "broken.png" in response.get_json()["errors"][0]["detail"]


@pytest.mark.parametrize("part", LOOKS)
def test_what_is_no_form_is_415_and_what_is_too_large_413(client, job_id, part):
    assert client.post(f"{JOBS}/{job_id}/{part}", data=b"x", content_type="image/png").status_code == 415
    assert look(client, job_id, part, ("a.png", b"x" * 100_001)).status_code == 413


@pytest.mark.parametrize("part", LOOKS)
def test_a_job_without_a_model_is_409(client, platform, half, part):
    response = look(client, platform.make_job(), part, ("a.png", half))
    assert (response.status_code, response.get_json()["code"]) == (409, "job_not_succeeded")


@pytest.mark.parametrize("part", LOOKS)
def test_a_strangers_job_is_404(make_client, platform, job_id, half, part):
    stranger = make_client(headers=platform.make_headers("read", tenant="other"))
    assert look(stranger, job_id, part, ("a.png", half)).status_code == 404


@pytest.mark.parametrize("part", LOOKS)
def test_a_key_that_may_only_read_may_look(make_client, platform, job_id, half, part):
    reader = make_client(headers=platform.make_headers("read"))
    assert look(reader, job_id, part, ("a.png", half)).status_code == 200
