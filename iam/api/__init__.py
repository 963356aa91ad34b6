"""The JSON API under /api/v1: the same use cases as the pages, bearer tokens, problem details (RFC 9457)."""

from __future__ import annotations

from flask import Flask
from flask_wtf.csrf import CSRFProtect

from iam.api import access, audit, clusters, explorer, me, people, policies, requests, rules
from iam.api.spec import document, spec

BLUEPRINTS = (
    me.routes, clusters.routes, access.routes, people.routes, explorer.routes, policies.routes, requests.routes, rules.routes,
    audit.routes,
)


def attach(app: Flask) -> None:
    """Add the API to the app. It takes no cookies, so it needs no form tokens."""
    csrf: CSRFProtect = app.extensions["csrf"]
    for blueprint in BLUEPRINTS:
        csrf.exempt(blueprint)
        app.register_blueprint(blueprint, url_prefix=f"/api/v1{blueprint.url_prefix or ''}")
    with app.app_context():
        spec.register(app)
    app.add_url_rule("/api/v1/openapi.json", "openapi_v1", document)
