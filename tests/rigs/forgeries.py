"""What an attacker, or a broken provider, may change in an OpenID answer; see rigs/forged_provider.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

HOUR = 3600


@dataclass(frozen=True)
class Forgery:
    """One change of an otherwise flawless login. With no argument it changes nothing."""

    claims: Mapping[str, object] = field(default_factory=dict)
    """Replaced in, or added to, the ID token."""
    without: tuple[str, ...] = ()
    """Claims taken out of the ID token."""
    seconds: Mapping[str, int] = field(default_factory=dict)
    """Time claims (exp, iat, nbf) set to now plus so many seconds."""
    algorithm: Literal["RS256", "HS256", "none"] = "RS256"
    key: Literal["published", "unpublished", "public key as secret", "client secret"] = "published"
    """What signs. "unpublished" is another RSA key under the published key's id."""
    header: Mapping[str, object] = field(default_factory=dict)
    """Replaced in, or added to, the ID token's header; a value None takes a member out."""
    spoil_signature: bool = False
    userinfo: Mapping[str, object] = field(default_factory=dict)
    """Replaced in, or added to, the answer of userinfo."""
    userinfo_without: tuple[str, ...] = ()
    answer: Mapping[str, str | None] = field(default_factory=dict)
    """Parameters of the authorization answer (code, state, iss) replaced; None leaves one out."""
    discovery: Mapping[str, object] = field(default_factory=dict)
    """Replaced in the discovery document."""
    status: Mapping[str, int] = field(default_factory=dict)
    """HTTP status by path ("/token": 500) in place of an answer."""


ELSEWHERE = "https://elsewhere.example.org"

REFUSED: Mapping[str, Forgery] = {
    "issuer of somebody else": Forgery(claims={"iss": ELSEWHERE}),
    "no issuer": Forgery(without=("iss",)),
    "audience of somebody else": Forgery(claims={"aud": "another-client"}),
    "audience of somebody else, authorized party us": Forgery(
        claims={"aud": "another-client", "azp": "kube-iam"}
    ),
    "empty audience": Forgery(claims={"aud": []}),
    "no audience": Forgery(without=("aud",)),
    "authorized party somebody else": Forgery(
        claims={"aud": ["kube-iam", "another-client"], "azp": "another-client"}
    ),
    "nonce of another login": Forgery(claims={"nonce": "replayed"}),
    "no nonce": Forgery(without=("nonce",)),
    "no subject": Forgery(without=("sub",)),
    "empty subject": Forgery(claims={"sub": ""}),
    "expired an hour ago": Forgery(seconds={"exp": -HOUR, "iat": -2 * HOUR}),
    "expired 110 seconds ago": Forgery(seconds={"exp": -110, "iat": -HOUR}),
    "no expiry": Forgery(without=("exp",)),
    "not yet valid": Forgery(seconds={"nbf": HOUR}),
    "issued in the future": Forgery(seconds={"iat": HOUR, "exp": 2 * HOUR}),
    "algorithm none": Forgery(algorithm="none"),
    "algorithm none in mixed case": Forgery(algorithm="none", header={"alg": "nOnE"}),
    "signed with the public key as a secret": Forgery(algorithm="HS256", key="public key as secret"),
    "signed with the client secret": Forgery(algorithm="HS256", key="client secret"),
    "signed by another key under the known id": Forgery(key="unpublished"),
    "signed by another key under an unknown id": Forgery(key="unpublished", header={"kid": "unknown"}),
    "signed by another key that the token brings along": Forgery(key="unpublished", header={"jwk": "own"}),
    "spoilt signature": Forgery(spoil_signature=True),
    "no issuer in the answer (RFC 9207)": Forgery(answer={"iss": None}),
    "another issuer in the answer (RFC 9207)": Forgery(answer={"iss": ELSEWHERE}),
    "state of another login": Forgery(answer={"state": "replayed"}),
    "no state": Forgery(answer={"state": None}),
    "userinfo of another subject": Forgery(userinfo={"sub": "somebody-else"}),
    "discovery names another issuer": Forgery(discovery={"issuer": ELSEWHERE}),
}
"""Each of these must end without a login."""

GROUPS_UNKNOWN: Mapping[str, Forgery] = {
    "no groups": Forgery(without=("groups",), userinfo_without=("groups",)),
    "Entra overage by claim source": Forgery(
        without=("groups",),
        userinfo_without=("groups",),
        claims={
            "_claim_names": {"groups": "src1"},
            "_claim_sources": {"src1": {"endpoint": f"{ELSEWHERE}/users/anna/getMemberObjects"}},
        },
    ),
    "Entra overage by hasgroups": Forgery(
        without=("groups",), userinfo_without=("groups",), claims={"hasgroups": True}
    ),
}
"""Who it is is certain here, which groups they are in is not: that must not be read as "in none"."""
