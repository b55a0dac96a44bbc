import pytest

from api.auth import PUBLIC


@pytest.fixture
def document(anonymous):
    return anonymous.get("/openapi.json").get_json()


def operations(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_the_document_is_openapi_3_1(document):
    assert document["openapi"].startswith("3.1.")
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


def test_every_operation_has_a_summary_a_tag_and_a_name_of_its_own(document):
    found = list(operations(document))
    assert all(operation["summary"] and operation["tags"] for _, operation in found)
    names = [operation["operationId"] for _, operation in found]
    assert len(set(names)) == len(names)


def test_every_operation_says_what_it_answers(document):
    for name, operation in operations(document):
        successes = [response for status, response in operation["responses"].items() if status.startswith("2")]
        assert successes, name
        for status, response in operation["responses"].items():
            assert response.get("content") or status in ("204", "304"), (name, status)


def test_every_download_says_what_its_conditions_and_ranges_are_answered(document):
    downloads = [operation["responses"] for _, operation in operations(document) if "206" in operation["responses"]]
    assert len(downloads) == 5
    for responses in downloads:
        assert {"200", "304", "409", "412", "416"} <= responses.keys()


def test_every_operation_says_what_any_request_may_be_answered(document):
    for name, operation in operations(document):
        assert {"400", "408", "414", "415", "417", "422", "431"} <= operation["responses"].keys(), name


def test_every_refusal_is_a_problem(document):
    for name, operation in operations(document):
        for status, response in operation["responses"].items():
            if status.startswith(("4", "5")):
                schema = response["content"]["application/problem+json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Problem"}, (name, status)


def test_every_operation_but_the_public_ones_asks_for_a_key(document):
    for name, operation in operations(document):
        public = any(name.endswith(endpoint.split(".")[1]) for endpoint in PUBLIC)
        assert (operation.get("security") == [{"bearer": []}]) is not public, name


def test_every_reference_leads_somewhere(document):
    def references(value):
        if isinstance(value, dict):
            yield from ([value["$ref"]] if isinstance(value.get("$ref"), str) else [])
            for item in value.values():
                yield from references(item)
        elif isinstance(value, list):
            for item in value:
                yield from references(item)

    for reference in set(references(document)):
        name = reference.removeprefix("#/components/schemas/")
        assert name in document["components"]["schemas"], reference


def test_a_body_may_be_absent_where_an_empty_object_would_do(document):
    paths = document["paths"]
    assert paths["/api/v1/jobs/{job_id}/cancel"]["post"]["requestBody"]["required"] is False
    assert paths["/api/v1/jobs/{job_id}/retry"]["post"]["requestBody"]["required"] is False
    assert paths["/api/v1/jobs"]["post"]["requestBody"]["required"] is True
    assert paths["/api/v1/datasets"]["post"]["requestBody"]["required"] is True


def test_headers_are_documented_by_their_names(document):
    parameters = document["paths"]["/api/v1/jobs"]["post"]["parameters"]
    assert [(one["name"], one["in"]) for one in parameters] == [("Idempotency-Key", "header")]


def test_the_page_and_all_it_needs_come_from_here(anonymous):
    page = anonymous.get("/docs")
    assert page.status_code == 200
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    assert "http://" not in page.text
    assert "https://" not in page.text
    for part in page.text.split('"'):
        if part.startswith("/docs/"):
            with anonymous.get(part) as asset:
                assert asset.status_code == 200, part


def test_nothing_beside_the_assets_can_be_read(anonymous):
    for path in ("../__init__.py", "..%2f__init__.py", "%2e%2e/__init__.py", "/etc/passwd"):
        assert anonymous.get(f"/docs/assets/{path}").status_code == 404


@pytest.mark.parametrize("part", ["feature-maps", "saliency"])
def test_what_may_be_a_picture_or_values_says_both(document, part):
    operation = document["paths"][f"/api/v1/jobs/{{job_id}}/{part}"]["post"]
    assert set(operation["responses"]["200"]["content"]) == {"application/json", "image/png"}
