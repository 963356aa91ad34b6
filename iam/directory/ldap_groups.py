"""Which groups an LDAP entry is in: five ways to store membership, nesting walked by us, cycles survived."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from ldap3.utils.conv import escape_filter_chars
from ldap3.utils.dn import escape_rdn

from iam.directory.ldap_connection import Conversation, Entry, ServerFailed
from iam.errors import Invalid
from iam.kube import names
from iam.settings.directories import LdapSettings

IN_CHAIN = "1.2.840.113556.1.4.1941"
_AT_ONCE = 50
_EVERY_GROUP = "(objectClass=*)"
Dn = tuple[tuple[tuple[str, str], ...], ...]
"""From the entry up; each part has one attribute and its value, or several."""

# ldap3's own parser refuses what servers send: `cn=C# developers`, blanks after commas, `=` in a value.
_PART = re.compile(r'\s*([a-z][a-z0-9-]*|[0-9.]+)\s*=((?:\\.|[^\\",;+])*)([,+]|\Z)', re.IGNORECASE | re.ASCII | re.DOTALL)


def normalise_dn(dn: str) -> Dn:
    """A DN as a comparable value: case, blanks and escapes do not matter (RFC 4514, caseIgnoreMatch).

    Raises ValueError for what is not a DN.
    """
    return tuple(
        tuple(sorted((attribute.casefold(), _folded(value)) for attribute, value in part)) for part in _parts(dn)
    )


def canonical_dn(dn: str) -> str:
    """One spelling of a DN, to compare as text; nothing for what is not a DN."""
    return ",".join("+".join(f"{attribute}={escape_rdn(value)}" for attribute, value in part) for part in _dn_or_nothing(dn))


def _parts(dn: str) -> list[list[tuple[str, str]]]:
    parts: list[list[tuple[str, str]]] = [[]]
    separator, at = ",", 0
    while separator:
        match = _PART.match(dn, at)
        if not match:
            raise ValueError(f"not a DN: {dn[:100]!r}")
        parts[-1].append((match[1], _unescape(match[2])))
        separator, at = match[3], match.end()
        if separator == ",":
            parts.append([])
    return parts


def _folded(value: str) -> str:
    """The value for comparison. Not casefold, not NFKC: to OpenLDAP, `straße` and `strasse` are two people."""
    return " ".join(unicodedata.normalize("NFC", value).lower().split())


def _unescape(value: str) -> str:
    """Undo ``\\,`` and ``\\2C`` (RFC 4514, 3)."""
    out = bytearray()
    for match in re.finditer(r"\\([0-9A-Fa-f]{2})|\\(.)|([^\\]+)", value, re.DOTALL):
        pair, char, plain = match.groups()
        out += bytes.fromhex(pair) if pair else (char or plain).encode("utf-8", "surrogatepass")
    return out.decode("utf-8", "surrogateescape")


@dataclass
class GroupGraph:
    """All groups of a directory at once, for syncing many people with one search."""

    names: dict[Dn, str] = field(default_factory=dict)
    groups_of: dict[Dn, set[Dn]] = field(default_factory=lambda: defaultdict(set))
    """From a member (person or group) to the groups that hold it directly."""
    groups_of_uid: dict[str, set[Dn]] = field(default_factory=lambda: defaultdict(set))


class LdapGroups:
    """Reads groups the way one directory's settings say."""

    def __init__(self, settings: LdapSettings) -> None:
        self._settings = settings
        self._base = normalise_dn(settings.group_base) if settings.group_base else ()
        self._by = settings.group_membership
        self._member_attribute = "member" if self._by == "in-chain" else self._by

    def wants_searches(self, person: Entry) -> bool:
        """Whether ``of_person`` will search, for which the person may lack the rights."""
        if self._by != "memberOf":
            return True
        direct = self._inside(person.texts("memberOf"))
        may_have_twins = any(self._may_have_a_twin(dn) for dn, _ in direct)
        return bool(direct) and (self._settings.nested_depth > 0 or may_have_twins or any(self._wants_reading(text) for _, text in direct))

    def of_person(self, talk: Conversation, person: Entry, username: str) -> frozenset[str]:
        """The groups of one person, with as few searches as the nesting needs."""
        if self._by == "memberOf":
            direct = self._inside(person.texts("memberOf"))
            return self._named(self._climb(direct, lambda found: self._parents_by_attribute(talk, found)), talk)
        if self._by == "in-chain":
            return self._called(talk, self._search(talk, f"(member:{IN_CHAIN}:={escape_filter_chars(person.dn)})"))
        values = self._uids(person, username) if self._by == "memberUid" else [person.dn]
        either = "".join(f"({self._by}={escape_filter_chars(value)})" for value in values)
        found = {_dn_of(entry): entry for entry in self._search(talk, f"(|{either})")}
        if self._by != "memberUid":
            self._climb([(dn, entry.dn) for dn, entry in found.items()], lambda level: self._parents_by_search(talk, level, found))
        return self._called(talk, found.values())

    def graph(self, talk: Conversation) -> GroupGraph:
        """Every group below the group base, read once."""
        graph = GroupGraph()
        wanted = self._attributes("memberOf", self._member_attribute)
        for entry in talk.search(self._settings.group_base, self._settings.group_filter, wanted):
            dn = _dn_of(entry)
            graph.names[dn] = self._name(entry)
            if self._by == "memberOf":
                graph.groups_of[dn] |= {parent for parent, _ in self._inside(entry.texts("memberOf"))}
            elif self._by == "memberUid":
                for uid in entry.texts("memberUid"):
                    graph.groups_of_uid[uid].add(dn)
            else:
                for member in entry.texts(self._member_attribute):
                    graph.groups_of[_dn_or_nothing(member)].add(dn)
        self._refuse_twins(graph.names.items())
        return graph

    def in_graph(self, graph: GroupGraph, person: Entry, username: str) -> frozenset[str]:
        """The groups of one person, from a graph read before."""
        if self._by == "memberUid":
            found = [graph.groups_of_uid.get(uid, set()) for uid in self._uids(person, username)]
            return frozenset(filter(None, (graph.names[dn] for dn in set().union(*found))))
        if self._by == "memberOf":
            direct = {dn for dn, _ in self._inside(person.texts("memberOf")) if dn in graph.names}
        else:
            direct = graph.groups_of.get(_dn_of(person), set())
        reached = self._climb([(group, "") for group in direct], lambda found: [
            (parent, "") for group, _ in found for parent in graph.groups_of.get(group, ())
        ])
        return frozenset(filter(None, (graph.names.get(group) for group, _ in reached)))

    def _climb(
        self, level: list[tuple[Dn, str]], parents: Callable[[list[tuple[Dn, str]]], Iterable[tuple[Dn, str]]]
    ) -> list[tuple[Dn, str]]:
        """Breadth first, as deep as set (in-chain: to the top); what was seen is not visited again."""
        seen = dict(level)
        depth = 1000 if self._by == "in-chain" else self._settings.nested_depth
        for _ in range(depth):
            level = [(dn, text) for dn, text in dict(parents(level)).items() if dn not in seen] if level else []
            if not level:
                break
            seen |= dict(level)
        return list(seen.items())

    def _parents_by_search(self, talk: Conversation, level: list[tuple[Dn, str]], found: dict[Dn, Entry]) -> list[tuple[Dn, str]]:
        """The groups that hold the groups of this level; adds them to ``found``."""
        parents: list[tuple[Dn, str]] = []
        for start in range(0, len(level), _AT_ONCE):
            chunk = level[start : start + _AT_ONCE]
            either = "".join(f"({self._by}={escape_filter_chars(text)})" for _, text in chunk)
            for entry in self._search(talk, f"(|{either})"):
                dn = _dn_of(entry)
                found.setdefault(dn, entry)
                parents.append((dn, entry.dn))
        return parents

    def _parents_by_attribute(self, talk: Conversation, level: list[tuple[Dn, str]]) -> list[tuple[Dn, str]]:
        return [
            parent
            for _, text in level
            for entry in talk.search(text, self._settings.group_filter, ["memberOf"], scope="BASE")
            for parent in self._inside(entry.texts("memberOf"))
        ]

    def _named(self, reached: list[tuple[Dn, str]], talk: Conversation) -> frozenset[str]:
        """Names for DNs: from the DN itself where its first part is the name, else by reading the group."""
        named: dict[Dn, str] = {}
        for dn, text in reached:
            if not self._wants_reading(text):
                named[dn] = _legal(self._name_in_dn(text))
            else:
                for entry in talk.search(text, self._settings.group_filter, self._attributes(), scope="BASE"):
                    named[dn] = self._name(entry)
        self._refuse_twins_anywhere(talk, named)
        return frozenset(filter(None, named.values()))

    def _wants_reading(self, text: str) -> bool:
        """Whether the DN alone tells neither the name of a group nor that it counts."""
        return self._settings.group_filter != _EVERY_GROUP or not self._name_in_dn(text)

    def _name_in_dn(self, text: str) -> str:
        attribute = self._settings.group_name_attribute.casefold()
        return text if attribute == "dn" else {name.casefold(): value for name, value in _parts(text)[0]}.get(attribute, "")

    def _search(self, talk: Conversation, query: str) -> list[Entry]:
        combined = f"(&{self._settings.group_filter}{query})"
        return list(talk.search(self._settings.group_base, combined, self._attributes()))

    def _attributes(self, *more: str) -> list[str]:
        attribute = self._settings.group_name_attribute
        return [*(["1.1"] if attribute == "dn" and not more else [] if attribute == "dn" else [attribute]), *more]

    def _called(self, talk: Conversation, entries: Collection[Entry]) -> frozenset[str]:
        named = {_dn_of(entry): self._name(entry) for entry in entries}
        self._refuse_twins_anywhere(talk, named)
        return frozenset(filter(None, named.values()))

    def _name(self, entry: Entry) -> str:
        return _legal(self._name_in_dn(entry.dn) or entry.text(self._settings.group_name_attribute))

    def _uids(self, person: Entry, username: str) -> list[str]:
        """What memberUid may say; it is compared with case (RFC 2307)."""
        return sorted({username, *person.texts(self._settings.username_attribute)})

    def _inside(self, texts: Iterable[str]) -> list[tuple[Dn, str]]:
        """The DNs below the group base."""
        dns = [(_dn_or_nothing(text), text) for text in texts]
        return [(dn, text) for dn, text in dns if dn and (not self._base or dn[-len(self._base) :] == self._base)]

    def _refuse_twins_anywhere(self, talk: Conversation, named: dict[Dn, str]) -> None:
        """Whoever is only in the second group of a name does not see the first; so ask for the names once more."""
        self._refuse_twins(named.items())
        doubtful = sorted({name for dn, name in named.items() if name and self._may_have_a_twin(dn)})
        for start in range(0, len(doubtful), _AT_ONCE):
            either = "".join(
                f"({self._settings.group_name_attribute}={escape_filter_chars(name)})" for name in doubtful[start : start + _AT_ONCE]
            )
            self._refuse_twins((_dn_of(entry), self._name(entry)) for entry in self._search(talk, f"(|{either})"))

    def _may_have_a_twin(self, dn: Dn) -> bool:
        """Not if the name is the whole DN, or the server itself keeps it unique: first part of an entry right below the base."""
        attribute = self._settings.group_name_attribute.casefold()
        is_first_part = len(dn[0]) == 1 and dn[0][0][0] == attribute
        return attribute != "dn" and bool(self._base) and not (is_first_part and len(dn) == len(self._base) + 1)

    def _refuse_twins(self, named: Iterable[tuple[Dn, str]]) -> None:
        """Two groups of one name would let whoever makes the second one act as the first."""
        owner: dict[str, Dn] = {}
        for dn, name in named:
            if name and owner.setdefault(name, dn) != dn:
                raise ServerFailed(f'two groups are both called {name!r}; set group_name_attribute = "dn"')


def _legal(name: str) -> str:
    """The name if mappings can use it, else nothing: a group called system:masters is never passed on."""
    try:
        return names.group_name(name)
    except Invalid:
        return ""


def _dn_or_nothing(text: str) -> Dn:
    try:
        return normalise_dn(text)
    except ValueError:
        return ()


def _dn_of(entry: Entry) -> Dn:
    try:
        return normalise_dn(entry.dn)
    except ValueError as error:
        raise ServerFailed(str(error)) from None
