"""Oneself: who am I, what may I do, a kubeconfig."""

from __future__ import annotations

from flask import Blueprint

from iam import services
from iam.api.shapes import HoldingOut, Holdings, KubeconfigIn, KubeconfigOut, Me
from iam.api.spec import actor, answers, load_actor, spec
from iam.services.base import READ
from iam.services.credentials import Ask

routes = Blueprint("api_me", __name__)
routes.before_request(load_actor)


@routes.get("/me")
@spec.validate(resp=answers(HTTP_200=Me), tags=["me"])
def me() -> Me:
    """Who this token stands for."""
    who = actor()
    return Me(username=who.name, display_name=who.display_name, roles=sorted(who.roles), scopes=sorted(who.scopes))


@routes.get("/me/access")
@spec.validate(resp=answers(HTTP_200=Holdings), tags=["me"])
def my_access() -> Holdings:
    """What I may do, where, through which mapping."""
    ours = services.current()
    ours.audit.require(actor(), scope=READ)
    holdings = ours.holdings.of(ours.people.get(actor(), actor().person_id))
    return Holdings(
        items=[
            HoldingOut(cluster=one.cluster.name, role=str(one.role), namespaces=list(one.namespaces), group=one.group, until=one.until)
            for one in holdings
        ]
    )


@routes.post("/kubeconfig")
@spec.validate(resp=answers(HTTP_200=KubeconfigOut), tags=["me"])
def kubeconfig(json: KubeconfigIn) -> KubeconfigOut:
    """Fresh certificates in a kubeconfig. Needs the scope kubeconfig."""
    handed = services.current().credentials.issue(
        actor(), Ask(tuple(json.clusters), json.lifetime_seconds, json.csr.encode(), json.key_path if json.csr else "")
    )
    return KubeconfigOut(kubeconfig=handed.kubeconfig, clusters=list(handed.clusters), expires=handed.expires)
