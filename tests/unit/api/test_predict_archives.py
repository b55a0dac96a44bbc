import io
import zipfile

import pytest

JOBS = "/api/v1/jobs"


@pytest.fixture
def job_id(platform, model_file):
    return platform.make_succeeded_job({"model.onnx": ("application/octet-stream", model_file)})


def pack(entries, *, method=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return buffer.getvalue()


def predict(client, job_id, content, media_type="application/zip"):
    return client.post(f"{JOBS}/{job_id}/predict?top_k=1", data=content, content_type=media_type)


def predict_form(client, job_id, **fields):
    return client.post(f"{JOBS}/{job_id}/predict", data=fields, content_type="multipart/form-data")


def test_the_images_of_a_zip_are_predicted_in_its_order(client, job_id, make_image):
    entries = [
        ("photos/", b""),
        ("photos/bright.png", make_image(255)),
        ("__MACOSX/photos/._bright.png", b"clutter"),
        ("photos/.DS_Store", b"clutter"),
        ("dark.png", make_image(0)),
    ]
    predictions = predict(client, job_id, pack(entries)).get_json()["predictions"]
    assert [(one["filename"], one["class"]) for one in predictions] == [
        ("photos/bright.png", "bee"),
        ("dark.png", "ant"),
    ]


def test_a_zip_may_come_as_a_field_of_a_form(client, job_id, make_image):
    archive = pack([("a.png", make_image(255))], method=zipfile.ZIP_DEFLATED)
    response = predict_form(client, job_id, archive=(io.BytesIO(archive), "a.zip"))
    assert [one["class"] for one in response.get_json()["predictions"]] == ["bee"]


def test_a_zip_in_a_form_stands_alone(client, job_id, make_image):
    archive, image = pack([("a.png", make_image(255))]), make_image(0)
    for fields in (
        {"archive": (io.BytesIO(archive), "a.zip"), "image": (io.BytesIO(image), "b.png")},
        {"image": (io.BytesIO(image), "b.png"), "archive": (io.BytesIO(archive), "a.zip")},
    ):
        response = predict_form(client, job_id, **fields)
        assert response.status_code == 422
        assert response.get_json()["errors"] == [{"pointer": "/archive", "detail": "is not the only field"}]


@pytest.mark.parametrize(("part", "remedy"), [("predict", "the field archive"), ("saliency", "an image of it")])
def test_a_zip_that_calls_itself_an_image_is_named_with_what_to_do(client, job_id, make_image, part, remedy):
    files = [(io.BytesIO(pack([("a.png", make_image(255))])), "photos.zip")]
    response = client.post(f"{JOBS}/{job_id}/{part}", data={"image": files}, content_type="multipart/form-data")
    assert (response.status_code, response.get_json()["code"]) == (422, "unreadable_image")
    (error,) = response.get_json()["errors"]
    assert error["pointer"] == "/image/0"
    assert "photos.zip: is a ZIP" in error["detail"]
    assert remedy in error["detail"]


def test_every_image_of_a_zip_that_cannot_be_read_is_named(client, job_id, make_image):
    archive = bytearray(pack([("good.png", make_image(0)), ("notes.txt", b"words"), ("torn.png", make_image(9))]))
    place = archive.index(b"torn.png") + 60
    archive[place] ^= 255  # The checksum no longer holds.
    response = predict(client, job_id, bytes(archive))
    assert (response.status_code, response.get_json()["code"]) == (422, "unreadable_image")
    errors = response.get_json()["errors"]
    assert [error["pointer"] for error in errors] == ["/image/1", "/image/2"]
    assert [error["detail"].split(":")[0] for error in errors] == ["notes.txt", "torn.png"]


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\3\4 and then nothing"])
def test_what_is_no_zip_is_422(client, job_id, content):
    response = predict(client, job_id, content)
    assert (response.status_code, response.get_json()["code"]) == (422, "archive_rejected")


def test_a_zip_without_an_image_is_422(client, job_id):
    response = predict(client, job_id, pack([("photos/", b""), (".DS_Store", b"x")]))
    assert (response.status_code, response.get_json()["errors"][0]["pointer"]) == (422, "/image")


def test_a_zip_whose_names_lead_out_of_it_is_422(client, job_id, make_image):
    response = predict(client, job_id, pack([("../a.png", make_image(0))]))
    assert (response.status_code, response.get_json()["code"]) == (422, "archive_rejected")


def test_a_zip_with_too_many_images_is_413(client, job_id, make_image):
    entries = [(f"{number}.png", make_image(0)) for number in range(6)]
    assert predict(client, job_id, pack(entries)).status_code == 413
    assert predict(client, job_id, pack(entries[:5])).status_code == 200


def test_a_zip_that_unpacks_to_more_than_a_body_may_have_is_422(client, job_id):
    archive = pack([("a.bmp", b"\0" * 100_001)], method=zipfile.ZIP_DEFLATED)
    assert len(archive) < 1000
    response = predict(client, job_id, archive)
    assert (response.status_code, response.get_json()["code"]) == (422, "archive_rejected")


def test_a_zip_that_is_too_large_is_413(client, job_id):
    assert predict(client, job_id, b"x" * 100_001).status_code == 413


def test_entries_that_lie_about_themselves_are_422(client, job_id, make_image):
    archive = bytearray(pack([("a.png", make_image(0))]))
    archive[archive.index(b"a.png")] = ord("b")  # The local header names another file than the directory does.
    response = predict(client, job_id, bytes(archive))
    assert (response.status_code, response.get_json()["code"]) == (422, "archive_rejected")
