"""Walks every route: nothing is open but what the list says, and nothing is undocumented."""

import re

import pytest

from api.app import create_app
from api.auth import HIDDEN, PUBLIC, READING_POSTS, TENANT_BLUEPRINTS
from api.models import Models
from api.ports import Ports, find_ports
from api.queue import Outbox
from api.readiness import Probes
from api.streams import Streams
from core.db.engine import open_engine, open_sessions, transaction
from core.db.rows import Row
from core.inference.cache import ModelCache
from core.inference.decoders import ImageDecoders
from core.services import keys
from core.settings import Settings
from core.storage.memory import MemoryStore


class NoQueue:
    def send(self, message):
        raise AssertionError(message)

    def depth(self, queue):
        return 0


@pytest.fixture
def app(tmp_path):
    engine = open_engine(f"sqlite:///{tmp_path}/test.db")
    Row.metadata.create_all(engine)
    store = MemoryStore()
    yield create_app(
        Ports(
            settings=Settings(data_dir=tmp_path),
            sessions=open_sessions(engine),
            store=store,
            outbox=Outbox(NoQueue()),
            models=Models(store, ModelCache(1000)),
            decoders=ImageDecoders(processes=1, memory_bytes=2**30, timeout_seconds=1),
            probes=Probes({"database": lambda: None, "redis": lambda: None, "store": lambda: None}),
            streams=Streams(1),
        )
    )
    engine.dispose()


def list_routes(app):
    for rule in app.url_map.iter_rules():
        for method in sorted(rule.methods):
            yield rule, method, re.sub(r"<[^>]*>", "job_0", rule.rule)


def test_every_route_but_the_public_ones_is_401_without_a_key(app):
    client = app.test_client()
    for rule, method, path in list_routes(app):
        response = client.open(path, method=method)
        if rule.endpoint in PUBLIC:
            assert response.status_code != 401, path
        else:
            assert response.status_code == (404 if rule.endpoint in HIDDEN else 401), (method, path)
            assert response.content_type == "application/problem+json"


ADMINISTRATIVE = {"keys", "tenants", "audit", "metrics"}


def needed_scope(rule, method):
    if rule.endpoint.split(".")[0] in ADMINISTRATIVE:
        return "admin"
    reads = method in ("GET", "HEAD", "OPTIONS") or rule.endpoint in READING_POSTS
    return "read" if reads else "train"


@pytest.mark.parametrize("scope", keys.SCOPES)
def test_every_route_is_403_for_a_key_of_a_lesser_scope_and_for_no_other(app, scope):
    with transaction(find_ports(app).sessions) as session:
        secret = keys.new_secret()
        keys.create_key(session, keys.ensure_tenant(session, "t"), name="k", scopes=[scope], secret=secret)
    client = app.test_client()
    for rule, method, path in list_routes(app):
        if rule.endpoint in PUBLIC:
            continue
        response = client.open(path, method=method, headers={"Authorization": f"Bearer {secret}"})
        allowed = keys.SCOPES.index(scope) >= keys.SCOPES.index(needed_scope(rule, method))
        refused = 404 if rule.endpoint in HIDDEN else 403
        assert (response.status_code == refused) == (not allowed), (method, path, response.status_code)


def test_a_resource_that_nobody_has_placed_is_the_administrators(app):
    """What is new is closed until it is put on the list of tenants' resources, or here on the administrators'."""
    placed = {*TENANT_BLUEPRINTS, *ADMINISTRATIVE, "health", "docs"}
    assert {rule.endpoint.split(".")[0] for rule in app.url_map.iter_rules()} == placed


def test_every_public_endpoint_exists(app):
    assert {rule.endpoint for rule in app.url_map.iter_rules()} >= PUBLIC


def test_every_route_is_documented_and_every_documented_route_exists(app):
    documented = {
        (method.upper(), path)
        for path, methods in app.test_client().get("/openapi.json").get_json()["paths"].items()
        for method in methods
    }
    routed = {
        (method, re.sub(r"<(?:[^:>]*:)?([^>]*)>", r"{\1}", rule.rule))
        for rule, method, _ in list_routes(app)
        if method not in ("HEAD", "OPTIONS") and not rule.endpoint.startswith("docs.")
    }
    assert documented == routed
