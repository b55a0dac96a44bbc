"""Figures for administrators' scrapers, and nothing at all for anybody else."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from core.db.engine import transaction
from core.services import workers


def read(client):
    response = client.get("/metrics")
    assert response.status_code == 200
    assert response.mimetype == "text/plain"
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def test_every_status_and_queue_has_its_figure_from_the_start(client):
    figures = read(client)
    assert figures["lenet_jobs", "queued"] == figures["lenet_jobs", "failed"] == 0
    assert figures["lenet_datasets", "ready"] == figures["lenet_queue_depth", "cpu"] == 0
    assert figures["lenet_stored_archives_bytes",] == 0


def test_figures_are_those_of_all_tenants(client, platform, sessions):
    platform.make_job()
    other = platform.make_tenant("other")
    platform.make_job(tenant_id=other)
    with transaction(sessions) as session:
        workers.report(session, name="w", host="h", role="train", device="cpu", slots=3, busy=["job_1"])
    figures = read(client)
    assert figures["lenet_jobs", "queued"] == 2
    assert figures["lenet_queue_depth", "cpu"] == 2
    assert figures["lenet_queue_oldest_wait_seconds", "cpu"] >= 0
    assert figures["lenet_datasets", "ready"] == 2
    assert figures["lenet_stored_archives_bytes",] == 6
    assert figures["lenet_worker_slots", "train"] == 3
    assert figures["lenet_worker_slots_busy", "train"] == 1


@pytest.mark.parametrize("scope", ["read", "train", None])
def test_for_others_it_is_as_if_it_were_not(make_client, platform, scope):
    client = make_client(headers=platform.make_headers(scope) if scope else {})
    hidden, missing = client.get("/metrics"), client.get("/nothing")
    assert (hidden.status_code, missing.status_code) == (404, 404)
    bodies = [response.get_json() for response in (hidden, missing)]
    assert len({body.pop("request_id") for body in bodies}) == 2
    assert bodies[0] == bodies[1]
    assert "WWW-Authenticate" not in hidden.headers
