"""User, group and object names: what is legal, what is reserved.

Sources: RFC 1123 labels and subdomains as in k8s.io/apimachinery/pkg/util/validation; path segment names as in
k8s.io/apimachinery/pkg/api/validation/path (RBAC object names); ``system:`` is reserved for Kubernetes itself
(https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings).
"""

from __future__ import annotations

import re
import unicodedata

from iam.errors import Invalid

MAX_USERNAME = 200
_MAX_TYPED = 4 * MAX_USERNAME
"""Beyond this nothing is normalised: NFKC takes quadratic time over alternating combining marks."""
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
RESERVED_PREFIX = "system:"
_IGNORABLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Default_Ignorable_Code_Point (DerivedCoreProperties.txt) and the blank braille pattern: two names that look alike."""


def canonical_username(raw: str) -> str:
    """The one spelling of a username: NFKC, case folded, without surrounding blanks.

    Raises Invalid for what cannot be a user name: empty, over 200 characters, control, zero-width or other
    invisible characters, blanks or commas inside, or a name reserved for Kubernetes.
    """
    name = "" if len(raw) > _MAX_TYPED else unicodedata.normalize("NFKC", raw).strip().casefold()
    if not raw.strip():
        raise Invalid("The username is empty.", field="username")
    if not 0 < len(name) <= MAX_USERNAME:
        raise Invalid("The username is longer than %(limit)s characters.", field="username", limit=MAX_USERNAME)
    if any(_is_invisible(char) or char.isspace() or char == "," for char in raw.strip() + name):
        raise Invalid("The username has blanks, commas or invisible characters in it.", field="username")
    refuse_reserved(name, field="username")
    return name


def refuse_reserved(name: str, *, field: str | None = None) -> str:
    """Return the name, or raise Invalid where it is one that Kubernetes keeps for itself (``system:``)."""
    folded = unicodedata.normalize("NFKC", name.strip()[: 2 * len(RESERVED_PREFIX)]).strip().casefold()
    if folded == "*":
        raise Invalid("A name cannot be *, which stands for everybody in policies.", field=field)
    if folded.startswith(RESERVED_PREFIX):
        raise Invalid("%(name)r is reserved for Kubernetes itself; names may not begin with system:.", field=field, name=name)
    return name


def group_name(raw: str) -> str:
    """A directory group's name as mappings use it. Raises Invalid like canonical_username, blanks allowed."""
    name = unicodedata.normalize("NFC", raw).strip() if len(raw) <= _MAX_TYPED else ""
    if not name or len(name) > 512 or any(_is_invisible(char) for char in name):
        raise Invalid("A group name is empty, longer than 512 characters or has invisible characters in it.", field="group")
    return refuse_reserved(name, field="group")


def is_label(name: str) -> bool:
    """Whether this is a DNS label (RFC 1123), as the names of namespaces are."""
    return _LABEL.fullmatch(name) is not None


def object_name(name: str, *, field: str = "name") -> str:
    """A DNS label, such as a namespace or our cluster names. Raises Invalid."""
    if not is_label(name):
        raise Invalid(
            "%(name)r is not a name of lower-case letters, digits and hyphens (at most 63).", field=field, name=name
        )
    return name


def role_name(name: str, *, field: str = "role") -> str:
    """The name of a Role or ClusterRole: any path segment. Raises Invalid."""
    if not name or name in {".", ".."} or "/" in name or "%" in name or len(name) > 253 or _has_invisible(name):
        raise Invalid("%(name)r cannot be the name of a role.", field=field, name=name)
    return name


def printable(text: str, most: int) -> str:
    """Somebody else's text, fit to be stored and shown: without control and invisible characters, at most so long."""
    start = text[: 4 * most]
    is_plain = start.isascii() and start.isprintable()  # nearly always, and every audit event asks
    return (start if is_plain else "".join(char for char in start if not _is_invisible(char))).strip()[:most]


def _has_invisible(text: str) -> bool:
    return any(_is_invisible(char) for char in text)


def _is_invisible(char: str) -> bool:
    """Control, format, surrogate, private or unassigned, a line separator, or one of Unicode's default ignorables."""
    category = unicodedata.category(char)
    return category[0] == "C" or category in {"Zl", "Zp"} or bool(_IGNORABLE.match(char))
