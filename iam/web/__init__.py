"""The pages: server-rendered, working without JavaScript, under a strict Content Security Policy."""

from __future__ import annotations

from flask import Flask
from flask_babel import Babel
from flask_bootstrap import Bootstrap5
from flask_wtf import CSRFProtect

from iam.approval import times
from iam.kube import manifest_yaml
from iam.web import (
    account,
    audit,
    catalogue,
    clusters,
    emergency,
    explorer,
    failures,
    home,
    inbox,
    login,
    mappings,
    metrics,
    notifications,
    people,
    policies,
    requests,
    status,
)
from iam.web.language import chosen_locale
from iam.web.pages import about_page, address_of, ago, exact, harden, request_tabs
from iam.web.visitors import forget_stale_session, load_actor, name_request, refuse_nul, take_large_policies

BLUEPRINTS = (
    login.pages, home.pages, requests.pages, inbox.pages, emergency.pages, catalogue.pages, notifications.pages, clusters.pages,
    mappings.pages, people.pages, explorer.pages, policies.pages, audit.pages, status.pages, account.pages,
)


def attach(app: Flask) -> None:
    """Add the pages, their errors and their headers to the app."""
    app.config.update(BOOTSTRAP_SERVE_LOCAL=True, BABEL_TRANSLATION_DIRECTORIES="translations")
    app.config.update(WTF_CSRF_TIME_LIMIT=None, WTF_I18N_ENABLED=False)
    Bootstrap5(app)
    Babel(app, locale_selector=chosen_locale)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters["to_yaml"] = manifest_yaml.dump
    # macros see globals, not the context of the page
    app.jinja_env.globals.update(ago=ago, exact=exact, span=times.words, request_tabs=request_tabs, address_of=address_of)
    app.before_request(name_request)
    app.before_request(load_actor)
    app.before_request(take_large_policies)
    CSRFProtect(app)  # its check runs here, when the request has its id and its actor, so that a refusal shows them
    app.before_request(refuse_nul)
    app.context_processor(about_page)
    app.after_request(harden)
    app.after_request(forget_stale_session)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    app.register_blueprint(metrics.probes)
    failures.attach(app)
