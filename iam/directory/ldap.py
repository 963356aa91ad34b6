"""LDAP: OpenLDAP, 389-ds, Active Directory. Search, then bind; or bind by template."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

from ldap3.utils.conv import escape_filter_chars
from ldap3.utils.dn import escape_rdn

from iam.directory import ldap_accounts
from iam.directory.base import Identity, LoginRefused, Step, silent
from iam.directory.ldap_connection import BindRefused, Conversation, Entry, LdapServers, ServerFailed
from iam.directory.ldap_groups import LdapGroups, canonical_dn
from iam.errors import Invalid, Unavailable
from iam.kube import names
from iam.settings.directories import LdapSettings

_AT_ONCE = 100
_SYNC_SECONDS = 120.0
_BINARY_SUBJECTS = {"objectguid"}


class LdapDirectory:
    """A password directory behind one or more LDAP servers."""

    def __init__(self, settings: LdapSettings, now: Callable[[], datetime]) -> None:
        self._settings = settings
        self._now = now
        self._servers = LdapServers(settings)
        self._groups = LdapGroups(settings)
        self.name = settings.name
        self.label = settings.label

    def authenticate(self, username: str, password: str, step: Step = silent) -> Identity:
        """Search-then-bind (or bind by template), then groups. Raises LoginRefused, Unavailable."""
        if not password:  # a bind with a name and no password succeeds anonymously: RFC 4513, 5.1.2
            raise LoginRefused("empty password")
        try:
            typed = names.canonical_username(username)
        except Invalid as problem:
            raise LoginRefused(str(problem)) from None

        def talk(conversation: Conversation) -> Identity:
            if self._settings.bind_template:
                entry = self._bind_by_template(conversation, typed, password)
            else:
                entry = self._search_then_bind(conversation, typed, password)
            refused = ldap_accounts.refusal(entry, self._now())
            if refused:
                raise LoginRefused(f"the account is {refused}", account=typed)
            canonical = self._username(entry)
            identity = self._identity(entry, canonical, self._groups.of_person(conversation, entry, canonical))
            step("identity", f"{identity.username} ({identity.subject}), groups: {', '.join(sorted(identity.groups)) or 'none'}")
            return identity

        return self._servers.converse(talk, step)

    def lookup(self, subjects: Mapping[str, str], step: Step = silent) -> Mapping[str, Identity | None]:
        """Find known people again by their immutable subject, and all groups in one search."""
        if self._settings.bind_template and not self._settings.bind_dn:
            raise Unavailable("The directory %(directory)s has no search account, so people cannot be synced.", directory=self.label)

        def talk(conversation: Conversation) -> Mapping[str, Identity | None]:
            self._bind_as_ourselves(conversation)
            found: dict[str, Identity | None] = dict.fromkeys(subjects)
            graph = self._groups.graph(conversation) if self._settings.group_base else None
            for entry in self._entries_of(conversation, list(subjects)):
                subject = self._subject(entry)
                if subject not in found or ldap_accounts.refusal(entry, self._now()):
                    continue
                try:
                    canonical = self._username(entry)
                    groups = (
                        self._groups.of_person(conversation, entry, canonical) if graph is None
                        else self._groups.in_graph(graph, entry, canonical)
                    )
                    found[subject] = self._identity(entry, canonical, groups)
                except LoginRefused as refused:  # renamed to something illegal: that person is gone, the others are not
                    step("identity", f"{entry.dn}: {refused}")
            return found

        return self._servers.converse(talk, step, _SYNC_SECONDS)

    def find(self, username: str, step: Step = silent) -> Identity:
        """What a login of this person would find, without the password (``iam directory test``). Raises LoginRefused."""
        typed = names.canonical_username(username)

        def talk(conversation: Conversation) -> Identity:
            self._bind_as_ourselves(conversation)
            entry = self._find(conversation, typed)
            refused = ldap_accounts.refusal(entry, self._now())
            step("account", refused or "may log in")
            canonical = self._username(entry)
            return self._identity(entry, canonical, self._groups.of_person(conversation, entry, canonical))

        return self._servers.converse(talk, step)

    def check(self, step: Step = silent) -> None:
        """Connect, and bind as the search account."""
        self._servers.converse(self._bind_as_ourselves, step)

    def _search_then_bind(self, conversation: Conversation, typed: str, password: str) -> Entry:
        self._bind_as_ourselves(conversation)
        entry = self._find(conversation, typed)
        self._bind_as_person(conversation, entry.dn, password, typed)
        if self._groups.wants_searches(entry):
            self._bind_as_ourselves(conversation)
        return entry

    def _bind_by_template(self, conversation: Conversation, typed: str, password: str) -> Entry:
        dn = self._settings.bind_template.replace("{username}", escape_rdn(typed))
        self._bind_as_person(conversation, dn, password, typed)
        for entry in conversation.search(dn, self._settings.user_object_filter, self._attributes(), scope="BASE"):
            return entry
        raise LoginRefused("the account cannot read its own entry", account=typed)

    def _bind_as_person(self, conversation: Conversation, dn: str, password: str, typed: str) -> None:
        try:
            conversation.bind(dn, password)
        except BindRefused as refused:
            raise LoginRefused(f"wrong password or refused account: {refused}", account=typed) from None

    def _bind_as_ourselves(self, conversation: Conversation) -> None:
        try:
            conversation.bind(self._settings.bind_dn, self._settings.bind_password.get_secret_value())
        except BindRefused as refused:
            raise ServerFailed(f"our own search account was refused: {refused}") from None

    def _find(self, conversation: Conversation, typed: str) -> Entry:
        asked = self._settings.user_filter.replace("{username}", escape_filter_chars(typed))
        query = f"(&{asked}{self._settings.user_object_filter})"
        entries = list(conversation.search(self._settings.user_base, query, self._attributes()))
        if not entries:
            raise LoginRefused("no such account", account=typed)
        if len(entries) > 1:
            raise LoginRefused(f"{len(entries)} accounts match; make user_filter narrower", account=typed)
        return entries[0]

    def _entries_of(self, conversation: Conversation, subjects: list[str]) -> Iterator[Entry]:
        attribute = self._settings.subject_attribute
        for start in range(0, len(subjects), _AT_ONCE):
            values = [self._subject_in_filter(subject) for subject in subjects[start : start + _AT_ONCE]]
            either = "".join(f"({attribute}={value})" for value in values)
            query = f"(&{self._settings.user_object_filter}(|{either}))"
            yield from conversation.search(self._settings.user_base, query, self._attributes())

    def _attributes(self) -> list[str]:
        settings = self._settings
        wanted = [
            settings.username_attribute, settings.subject_attribute, settings.name_attribute, settings.email_attribute,
            "manager", *ldap_accounts.ATTRIBUTES,
        ]
        return [*wanted, *(["memberOf"] if settings.group_membership == "memberOf" else [])]

    def _identity(self, entry: Entry, canonical: str, groups: frozenset[str]) -> Identity:
        settings = self._settings
        return Identity(
            directory=self.name,
            subject=self._subject(entry),
            username=settings.username_prefix + canonical,
            display_name=entry.text(settings.name_attribute) or canonical,
            email=entry.text(settings.email_attribute),
            groups=groups,
            manager=canonical_dn(entry.text("manager")),
            entry=canonical_dn(entry.dn),
        )

    def _username(self, entry: Entry) -> str:
        """The canonical name from the entry, not as it was typed. Raises LoginRefused where it cannot be one."""
        values = sorted(entry.texts(self._settings.username_attribute))
        try:
            return names.canonical_username(values[0] if values else "")
        except Invalid as problem:
            raise LoginRefused(f"{self._settings.username_attribute}: {problem}") from None

    def _subject(self, entry: Entry) -> str:
        raw = entry.raw(self._settings.subject_attribute)
        if not raw:
            raise ServerFailed(f"entries have no {self._settings.subject_attribute}; set subject_attribute")
        if self._settings.subject_attribute.casefold() in _BINARY_SUBJECTS:
            return str(uuid.UUID(bytes_le=raw)) if len(raw) == 16 else raw.hex()
        return raw.decode("utf-8", "replace").casefold()

    def _subject_in_filter(self, subject: str) -> str:
        if self._settings.subject_attribute.casefold() not in _BINARY_SUBJECTS:
            return str(escape_filter_chars(subject))
        raw = uuid.UUID(subject).bytes_le if "-" in subject else bytes.fromhex(subject)
        return "".join(f"\\{byte:02x}" for byte in raw)
