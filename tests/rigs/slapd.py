"""A real OpenLDAP server on loopback, with TLS, password policy, memberOf and counted operations."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import ldap3
from ldap3.core.exceptions import LDAPExceptionError, LDAPObjectClassViolationResult
from ldap3.utils.dn import escape_rdn

from .certificates import CertificateAuthority
from .processes import (
    LOOPBACK,
    ChildProcess,
    RigMissing,
    find_binary,
    first_line,
    free_port,
    run_as,
    wait_until,
)
from .slapd_files import CONFIG, MEMBER_OF, SKELETON

BASE = "dc=example,dc=org"
Values = str | list[str]

_MODULES = Path("/usr/lib/ldap")
_SCHEMA = Path("/etc/ldap/schema")
_SBIN = "/usr/sbin"


class Slapd:
    """OpenLDAP's slapd with `dc=example,dc=org`. Data and ports outlive `stop()` and `start()`.

    `certificate_host` puts another name into the server's certificate. `member_of` chooses who computes
    `memberOf`: the `memberof` overlay (direct groups, not for entries loaded while stopped) or `dynlist`
    (nested groups too). `size_limit` is the most a search returns without paging (all to the administrator).
    """

    base = BASE
    people = f"ou=people,{BASE}"
    groups = f"ou=groups,{BASE}"
    policy_dn = f"cn=default-policy,{BASE}"
    admin_dn = f"cn=admin,{BASE}"
    admin_password = "admin-secret"
    reader_dn = f"cn=reader,{BASE}"
    reader_password = "reader-secret"
    empty_group_member = f"cn=admin,{BASE}"  # groupOfNames must have a member; this one is nobody's entry

    def __init__(
        self,
        *,
        certificate_host: str | None = None,
        member_of: Literal["memberof", "dynlist"] = "memberof",
        size_limit: int = 1000,
    ) -> None:
        self._binary = find_binary("slapd", _SBIN)
        self._slapadd = find_binary("slapadd", _SBIN)
        if not (_MODULES / f"{member_of}.la").exists():
            raise RigMissing(f"OpenLDAP module {member_of}.la", [_MODULES])
        self._temporary = tempfile.TemporaryDirectory(prefix="kube-iam-slapd-")
        folder = Path(self._temporary.name)
        (folder / "data").mkdir()
        authority = CertificateAuthority(folder)
        hosts = [certificate_host] if certificate_host else ["localhost", LOOPBACK]
        certificate, key = authority.issue(hosts)
        self._config = folder / "slapd.conf"
        self._config.write_text(
            CONFIG.format(
                schema=_SCHEMA, modules=_MODULES, folder=folder, ca=authority.ca_file,
                certificate=certificate, key=key, base=BASE, admin_dn=self.admin_dn,
                admin_password=self.admin_password,
                policy_dn=self.policy_dn, size_limit=size_limit,
                member_of_module=member_of, member_of=MEMBER_OF[member_of],
            )
        )  # fmt: skip
        self.ca_file = str(authority.ca_file)
        self.port, self.ldaps_port = free_port(), free_port()
        self.uri, self.ldaps_uri = f"ldap://{LOOPBACK}:{self.port}", f"ldaps://{LOOPBACK}:{self.ldaps_port}"
        listen = f"{self.uri}/ {self.ldaps_uri}/"
        command: list[str | Path] = [self._binary, "-f", self._config, "-h", listen, "-d", "stats"]
        self.process = ChildProcess(command, log=folder / "slapd.log")
        self._admin: Any = None
        self._own_searches = 0
        self.load(
            SKELETON.format(
                base=BASE,
                policy_dn=self.policy_dn,
                reader_dn=self.reader_dn,
                reader_password=self.reader_password,
            )
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._temporary.cleanup()

    def start(self) -> None:
        """Start the server, with the data and on the ports it had before."""
        self.process.start(self._answers)

    def stop(self) -> None:
        """Stop the server; clients see closed connections, then a refused port."""
        if self._admin is not None:
            self._admin.unbind()
            self._admin = None
        self.process.stop()

    def load(self, ldif: str) -> None:
        """Load LDIF: with slapadd while stopped (fast, past every overlay), with ldapadd while running."""
        folder = Path(self._temporary.name)
        file, secret = folder / "load.ldif", folder / "secret"
        file.write_text(ldif)
        if not self.process.running:
            run_as(None, [self._slapadd, "-q", "-f", self._config, "-b", BASE, "-l", file])
            return
        secret.write_text(self.admin_password)
        run_as(
            None,
            [find_binary("ldapadd"), "-x", "-H", self.uri, "-D", self.admin_dn, "-y", secret, "-f", file],
        )

    def add_person(self, uid: str, cn: str, mail: str, password: str | None, **more: Values) -> str:
        """Add an inetOrgPerson under `ou=people` and return its DN. `more` adds or replaces attributes."""
        dn = f"uid={escape_rdn(uid)},{self.people}"
        attributes: dict[str, Values] = {"cn": cn, "sn": cn.rsplit(maxsplit=1)[-1], "mail": mail, **more}
        if password is not None:
            attributes["userPassword"] = password
        extra = attributes.pop("objectClass", [])
        classes = ["inetOrgPerson", *([extra] if isinstance(extra, str) else extra)]
        self.admin.add(dn, classes, attributes)
        return dn

    def add_group(
        self, cn: str, members: Iterable[str], object_class: str = "groupOfNames", **more: Values
    ) -> str:
        """Add a group under `ou=groups` and return its DN. Members are DNs; for posixGroup, uids."""
        dn = f"cn={escape_rdn(cn)},{self.groups}"
        attribute = _member_attribute(object_class)
        listed = list(members)
        if not listed and attribute != "memberUid":
            listed = [self.empty_group_member]
        self.admin.add(dn, object_class, {**({attribute: listed} if listed else {}), **more})
        return dn

    def add_member(self, group: str, member: str, *, attribute: str = "member") -> None:
        """Put a member into a group; both are DNs (a uid with `attribute="memberUid"`)."""
        self.admin.modify(group, {attribute: [(ldap3.MODIFY_ADD, [member])]})

    def remove_member(self, group: str, member: str, *, attribute: str = "member") -> None:
        """Take a member out of a group; the last one of a groupOfNames is replaced by nobody."""
        try:
            self.admin.modify(group, {attribute: [(ldap3.MODIFY_DELETE, [member])]})
        except LDAPObjectClassViolationResult:
            self.admin.modify(group, {attribute: [(ldap3.MODIFY_REPLACE, [self.empty_group_member])]})

    def modify(self, dn: str, changes: Mapping[str, Values | None]) -> None:
        """Replace attributes of an entry; None takes an attribute away."""
        listed = {name: [(ldap3.MODIFY_REPLACE, _listed(values))] for name, values in changes.items()}
        self.admin.modify(dn, listed)

    def rename(self, dn: str, rdn: str) -> None:
        """Give an entry another RDN; its entryUUID stays."""
        self.admin.modify_dn(dn, rdn)

    def delete(self, dn: str) -> None:
        """Delete an entry."""
        self.admin.delete(dn)

    def clear(self) -> None:
        """Delete every person and every group, for the next test."""
        for folder in (self.people, self.groups):
            self.admin.search(folder, "(objectClass=*)", search_scope=ldap3.LEVEL, attributes=["1.1"])
            for entry in list(self.admin.response):
                self.admin.delete(entry["dn"])

    def operations(self) -> dict[str, int]:
        """Completed operations since the start, by lower-case name (bind, search, ...), not this call's own.

        The server counts an operation a moment after its answer is out, so wait until none is under way.
        """
        counts: dict[str, tuple[int, int]] = {}

        def settled() -> bool:
            counts.update(self._count_operations())
            return all(initiated == completed for initiated, completed in counts.values())

        wait_until(settled, seconds=5, what="LDAP operations under way")
        return {name: completed for name, (_, completed) in counts.items()}

    def _count_operations(self) -> dict[str, tuple[int, int]]:
        """Initiated and completed, by operation; the searches made to learn them are not counted."""
        names = ["cn", "monitorOpInitiated", "monitorOpCompleted"]
        self.admin.search("cn=Operations,cn=Monitor", "(cn=*)", search_scope=ldap3.LEVEL, attributes=names)
        counts = {}
        for entry in self.admin.response:
            name, initiated, completed = (entry["attributes"][attribute][0] for attribute in names)
            own = self._own_searches if name == "Search" else 0
            under_way = 1 if name == "Search" else 0
            counts[name.lower()] = (int(initiated) - own - under_way, int(completed) - own)
        self._own_searches += 1
        return counts

    @property
    def admin(self) -> Any:  # an ldap3.Connection, whose stubs leave half of the methods untyped
        """The administrator's connection; it raises on every result but success."""
        if self._admin is None:
            server = ldap3.Server(self.uri, get_info=ldap3.NONE, connect_timeout=5)
            self._admin = ldap3.Connection(
                server, self.admin_dn, self.admin_password, auto_bind=ldap3.AUTO_BIND_NO_TLS,
                raise_exceptions=True, auto_referrals=False,
            )  # fmt: skip
            self._own_searches = 0
        return self._admin

    def _answers(self) -> bool:
        try:
            return bool(self.admin.bound)
        except LDAPExceptionError:
            return False


def version() -> str:
    """The version of the slapd that would be started."""
    line = first_line([find_binary("slapd", _SBIN), "-VV"])
    return line.removeprefix("@(#) $OpenLDAP: ").split(" (")[0]


def _member_attribute(object_class: str) -> str:
    return {"groupOfUniqueNames": "uniqueMember", "posixGroup": "memberUid"}.get(object_class, "member")


def _listed(values: Values | None) -> list[str]:
    if values is None:
        return []
    return [values] if isinstance(values, str) else values
