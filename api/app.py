"""The application: routes on ports, with every convention installed once."""

from flask_openapi.openapi import OpenAPI

from api import audit as audit_trail
from api import auth, bodies, documents, errors, headers, request_ids, routing
from api.ports import Ports, attach
from api.routes import audit, datasets, health, jobs, keys, platform, quota, results, tenants
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
    routing.install(app)
    errors.install(app)
    headers.install(app)
    request_ids.install(app)
    auth.install(
        app,
        first_key=auth.FirstKey(ports.sessions, ports.settings.api_key),
        notes=auth.UseNotes(ports.sessions),
    )
    routing.install_checks(app)
    audit_trail.install(app)
    bodies.install(app, max_body_bytes=ports.settings.max_request_bytes)
    for resource in (datasets, jobs, results, platform, quota, keys, tenants, audit, health):
        app.register_api(resource.routes)
    app.register_blueprint(documents.create_blueprint())
    return app
