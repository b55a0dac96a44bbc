"""The application: routes on ports, with every convention installed once."""

from flask_openapi.openapi import OpenAPI

from api import audit as audit_trail
from api import auth, bodies, cors, documents, errors, headers, hosts, proxies, request_ids, routing
from api.ports import Ports, attach
from api.routes import (
    audit,
    datasets,
    ensembles,
    evaluations,
    explanations,
    health,
    jobs,
    keys,
    metrics,
    platform,
    plots,
    quota,
    registry,
    results,
    tenants,
)
from api.schemas.problems import Problem


def create_app(ports: Ports) -> OpenAPI:
    """Return the application that stands on ``ports``."""
    app = OpenAPI(
        "api",
        info=documents.INFO,
        security_schemes=documents.SECURITY_SCHEMES,
        validation_error_model=Problem,
        validation_error_callback=errors.refuse_values,
        doc_ui=False,
        static_folder=None,
    )
    app.openapi_version = documents.VERSION
    app.request_class = bodies.StrictRequest
    attach(app, ports)
    request_ids.install(app)
    routing.install(app)
    errors.install(app)
    headers.install(app)
    hosts.install(app, hosts.list_names(ports.settings))
    cors.install(app, ports.settings.cors_origins)
    auth.install(
        app,
        first_key=auth.FirstKey(ports.sessions, ports.settings.api_key),
        notes=auth.UseNotes(ports.sessions),
    )
    audit_trail.install(app)
    bodies.install(app, max_body_bytes=ports.settings.max_request_bytes)
    tenants_own = (datasets, jobs, results, plots, explanations, ensembles, evaluations, registry, platform, quota)
    for resource in (*tenants_own, keys, tenants, audit, metrics, health):
        app.register_api(resource.routes)
    app.register_blueprint(documents.create_blueprint())
    app.wsgi_app = proxies.TrustedProxies(app.wsgi_app, ports.settings.trusted_proxies)  # type: ignore[method-assign]
    return app
