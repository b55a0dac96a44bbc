import io

import pytest

URL = "/api/v1/models"
BINARY = "application/octet-stream"


@pytest.fixture
def make_job(platform, make_model_file):
    """Return a function that makes a job with a model; ``dark`` says how bright a bee has to be."""

    def make(dark=5.0):
        return platform.make_succeeded_job({"model.onnx": (BINARY, make_model_file(dark=dark))})

    return make


@pytest.fixture
def model(client):
    """Make a model without any version and return its URL."""
    assert client.post(URL, json={"name": "insects"}).status_code == 201
    return f"{URL}/insects"


@pytest.fixture
def key_id(client):
    items = client.get("/api/v1/keys").get_json()["items"]
    return next(item["id"] for item in items if item["name"] != "test")


def add(client, model, **body):
    response = client.post(f"{model}/versions", json=body)
    assert response.status_code == 201, response.get_json()
    return response.get_json()["version"]


def set_alias(client, model, alias, version):
    return client.put(f"{model}/aliases/{alias}", json={"version": version})


@pytest.fixture
def predict(client, make_image):
    """Return a function that asks a version about even pictures of some brightness."""

    def ask(path, *brightness, by=client, query=""):
        parts = [(io.BytesIO(make_image(level)), f"{level}.png") for level in brightness]
        return by.post(f"{path}/predict{query}", data={"image": parts}, content_type="multipart/form-data")

    return ask


def test_a_model_is_a_name_with_nothing_in_it_at_first(client, key_id):
    response = client.post(URL, json={"name": "insects-2.0_b", "description": "Ants and bees."})
    made = response.get_json()
    assert (response.status_code, response.headers["Location"]) == (201, f"{URL}/insects-2.0_b")
    assert (made["name"], made["description"], made["last_version"]) == ("insects-2.0_b", "Ants and bees.", 0)
    assert (made["aliases"], made["created_by"]) == ([], key_id)
    assert client.get(f"{URL}/insects-2.0_b").get_json() == made
    assert client.get(f"{URL}/insects-2.0_b/versions").get_json() == {"items": [], "next_cursor": None}


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a@b", ".a", "ä", "a" * 101, "a\n", 1, None])
def test_a_name_that_could_not_stand_in_a_path_is_422(client, name):
    assert client.post(URL, json={"name": name}).status_code == 422


def test_a_name_is_taken_once(client, model):
    response = client.post(URL, json={"name": "insects"})
    assert (response.status_code, response.get_json()["code"]) == (409, "model_exists")


def test_the_same_creation_twice_makes_one(client, make_job):
    once = {"Idempotency-Key": "once"}
    first, second = (client.post(URL, json={"name": "insects"}, headers=once) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.get_json() == second.get_json()
    body, again = {"job_id": make_job()}, {"Idempotency-Key": "again"}
    versions = [client.post(f"{URL}/insects/versions", json=body, headers=again).get_json() for _ in range(2)]
    assert versions[0] == versions[1]
    assert client.get(f"{URL}/insects").get_json()["last_version"] == 1


def test_versions_count_from_one_and_are_listed_newest_first(client, model, make_job, key_id):
    jobs = [make_job() for _ in range(3)]
    assert [add(client, model, job_id=job_id) for job_id in jobs] == [1, 2, 3]
    page = client.get(f"{model}/versions?limit=2").get_json()
    rest = client.get(f"{model}/versions?limit=2&cursor={page['next_cursor']}").get_json()
    items = page["items"] + rest["items"]
    assert [(item["version"], item["job_id"]) for item in items] == [(3, jobs[2]), (2, jobs[1]), (1, jobs[0])]
    assert rest["next_cursor"] is None
    assert client.get(f"{model}/versions/2").get_json() == items[1]
    assert (items[1]["name"], items[1]["created_by"], items[1]["ensemble_id"]) == ("insects", key_id, None)


@pytest.mark.parametrize("body", [{}, {"job_id": "job_1", "ensemble_id": "ens_1"}, {"job": "job_1"}])
def test_a_version_is_one_job_or_one_ensemble(client, model, body):
    assert client.post(f"{model}/versions", json=body).status_code == 422


def test_what_cannot_predict_is_no_version(client, model, platform):
    response = client.post(f"{model}/versions", json={"job_id": platform.make_job()})
    assert (response.status_code, response.get_json()["code"]) == (409, "job_not_succeeded")
    cast = client.post("/api/v1/ensembles", json={"dataset_id": platform.make_dataset(), "members": [{}, {}]})
    response = client.post(f"{model}/versions", json={"ensemble_id": cast.get_json()["id"]})
    assert (response.status_code, response.get_json()["code"]) == (409, "ensemble_not_ready")
    assert client.post(f"{model}/versions", json={"job_id": "job_none"}).status_code == 404
    assert client.post(f"{model}/versions", json={"ensemble_id": "ens_none"}).status_code == 404
    assert client.get(model).get_json()["last_version"] == 0


@pytest.mark.parametrize("method", ["PUT", "PATCH", "POST"])
def test_a_version_cannot_be_changed(client, model, make_job, method):
    add(client, model, job_id=make_job())
    assert client.open(f"{model}/versions/1", method=method, json={"job_id": make_job()}).status_code == 405


def test_an_alias_decides_who_predicts(client, model, make_job, predict):
    for dark in (1.0, 9.0):
        add(client, model, job_id=make_job(dark))
    for version, expected in ((1, "bee"), (2, "ant")):
        response = set_alias(client, model, "production", version)
        assert (response.status_code, response.get_json()["version"]) == (200, version)
        (one,) = predict(f"{model}@production", 150).get_json()["predictions"]
        assert (one["class"], "votes" in one) == (expected, False)
        (same,) = predict(f"{model}@{version}", 150).get_json()["predictions"]
        assert same == one


def test_an_ensemble_can_be_a_version(client, model, make_job, predict):
    members = [make_job(dark) for dark in (1.0, 5.0, 9.0)]
    ensemble_id = client.post("/api/v1/ensembles", json={"job_ids": members, "voting": "hard"}).get_json()["id"]
    add(client, model, ensemble_id=ensemble_id, description="Three of them.")
    set_alias(client, model, "production", 1)
    (one,) = predict(f"{model}@production", 150, query="?top_k=1").get_json()["predictions"]
    assert (one["class"], len(one["votes"]), len(one["top"])) == ("bee", 3, 1)
    early = client.get(f"{model}@production/artifacts/model.onnx")
    assert (early.status_code, early.get_json()["code"]) == (409, "ensemble_file_not_ready")
    refused = client.delete(f"/api/v1/ensembles/{ensemble_id}")
    assert (refused.status_code, refused.get_json()["code"]) == (409, "ensemble_in_use")


def test_the_file_of_a_version_is_that_of_its_job(client, model, make_job, make_model_file):
    add(client, model, job_id=make_job(5.0))
    response = client.get(f"{model}@1/artifacts/model.onnx")
    assert (response.status_code, response.data) == (200, make_model_file(dark=5.0))


@pytest.fixture
def colleague(make_client, platform):
    return make_client(headers=platform.make_headers("train"))


def test_who_set_an_alias_and_when_is_kept(client, colleague, model, make_job, key_id):
    for _ in range(2):
        add(client, model, job_id=make_job())
    set_alias(client, model, "production", 1)
    set_alias(colleague, model, "production", 2)
    set_alias(client, model, "production", 2)
    set_alias(client, model, "canary", 1)
    assert client.delete(f"{model}/aliases/production").status_code == 204
    history = client.get(f"{model}/aliases/production/history").get_json()["items"]
    assert [(change["before"], change["after"]) for change in history] == [(2, None), (1, 2), (None, 1)]
    assert history[0]["by"] == history[2]["by"] == key_id
    assert history[1]["by"] != key_id
    assert all(change["at"] for change in history)
    everything = client.get(f"{model}/history").get_json()["items"]
    assert [change["alias"] for change in everything] == ["production", "canary", "production", "production"]
    (left,) = client.get(f"{model}/aliases").get_json()["items"]
    assert (left["alias"], left["version"], left["set_by"]) == ("canary", 1, key_id)
    assert client.get(f"{model}/aliases/canary").get_json() == left
    assert client.get(model).get_json()["aliases"] == [left]


@pytest.mark.parametrize("body", [{}, {"version": 0}, {"version": "1"}, {"version": 2**31}, {"version": 1, "by": "x"}])
def test_an_alias_points_at_a_number(client, model, make_job, body):
    add(client, model, job_id=make_job())
    assert client.put(f"{model}/aliases/production", json=body).status_code == 422


def test_what_is_not_there_is_404(client, model, make_job, predict):
    add(client, model, job_id=make_job())
    assert set_alias(client, model, "production", 2).get_json()["code"] == "version_not_found"
    for response in (
        set_alias(client, model, "1st", 1),
        set_alias(client, f"{URL}/none", "production", 1),
        client.get(f"{URL}/none"),
        client.delete(f"{URL}/none"),
        client.post(f"{URL}/none/versions", json={"job_id": "job_1"}),
        client.get(f"{model}/versions/2"),
        client.get(f"{model}/versions/01"),
        client.delete(f"{model}/versions/2"),
        client.get(f"{model}/aliases/production"),
        client.delete(f"{model}/aliases/production"),
        client.get(f"{model}@production/artifacts/model.onnx"),
        *(
            predict(path, 0)
            for path in (f"{model}@production", f"{model}@2", f"{model}@", f"{model}@1@2", f"{URL}/none@1", model)
        ),
    ):
        assert response.status_code == 404, response.request.path


@pytest.mark.parametrize(
    ("reference", "code"),
    [
        ("insects@production", "alias_not_found"),
        ("insects@2", "version_not_found"),
        ("none@1", "model_not_found"),
        ("none@production", "model_not_found"),
    ],
)
@pytest.mark.usefixtures("model")
def test_a_reference_tells_what_of_it_is_not_there(client, predict, reference, code):
    assert predict(f"{URL}/{reference}", 0).get_json()["code"] == code
    assert client.get(f"{URL}/{reference}/artifacts/model.onnx").get_json()["code"] == code


def test_a_version_that_an_alias_points_at_stays(client, model, make_job):
    add(client, model, job_id=make_job())
    set_alias(client, model, "production", 1)
    for path, code in ((f"{model}/versions/1", "version_in_use"), (model, "model_in_use")):
        response = client.delete(path)
        assert (response.status_code, response.get_json()["code"]) == (409, code)
        assert "production" in response.get_json()["detail"]
    client.delete(f"{model}/aliases/production")
    assert client.delete(f"{model}/versions/1").status_code == 204
    assert client.get(f"{model}/versions/1").status_code == 404
    assert add(client, model, job_id=make_job()) == 2, "a number is never given again"


def test_a_job_that_is_a_version_stays_until_the_model_goes(client, model, make_job):
    job_id = make_job()
    add(client, model, job_id=job_id)
    response = client.delete(f"/api/v1/jobs/{job_id}")
    assert (response.status_code, response.get_json()["code"]) == (409, "job_in_use")
    assert "insects" in response.get_json()["detail"]
    assert client.delete(model).status_code == 204
    assert client.delete(f"/api/v1/jobs/{job_id}").status_code == 204
    assert client.post(URL, json={"name": "insects"}).get_json()["last_version"] == 0


def test_models_are_listed_newest_first(client):
    for name in ("a", "b", "c"):
        client.post(URL, json={"name": name})
    page = client.get(f"{URL}?limit=2").get_json()
    rest = client.get(f"{URL}?cursor={page['next_cursor']}").get_json()
    assert [item["name"] for item in page["items"] + rest["items"]] == ["c", "b", "a"]


@pytest.fixture
def stranger(make_client, platform):
    return make_client(headers=platform.make_headers(tenant="other"))


@pytest.fixture
def reader(make_client, platform):
    return make_client(headers=platform.make_headers("read"))


def test_two_tenants_may_use_one_name_and_never_meet(client, stranger, model, make_job, predict):
    job_id = make_job()
    add(client, model, job_id=job_id)
    set_alias(client, model, "production", 1)
    assert stranger.get(URL).get_json()["items"] == []
    for path in ("", "/versions", "/versions/1", "/aliases", "/aliases/production", "/history"):
        assert stranger.get(f"{model}{path}").status_code == 404, path
    assert predict(f"{model}@production", 0, by=stranger).status_code == 404
    assert stranger.get(f"{model}@1/artifacts/model.onnx").status_code == 404
    assert stranger.post(URL, json={"name": "insects"}).status_code == 201
    assert stranger.post(f"{model}/versions", json={"job_id": job_id}).status_code == 404
    assert client.get(model).get_json()["last_version"] == 1


def test_who_may_only_read_may_predict_and_change_nothing(reader, client, model, make_job, predict):
    add(client, model, job_id=make_job())
    assert predict(f"{model}@1", 0, by=reader).status_code == 200
    assert reader.get(f"{model}@1/artifacts/model.onnx").status_code == 200
    for response in (
        reader.post(URL, json={"name": "mine"}),
        reader.post(f"{model}/versions", json={"job_id": "job_1"}),
        set_alias(reader, model, "production", 1),
        reader.delete(model),
        reader.delete(f"{model}/versions/1"),
        reader.delete(f"{model}/aliases/production"),
    ):
        assert response.status_code == 403
