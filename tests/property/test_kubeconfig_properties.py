"""What holds for every kubeconfig: written ones read back, foreign ones are read or refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from iam.errors import Invalid
from iam.kube import certificates
from iam.kube.kubeconfig import Access, Entry, check_server, read, write

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
CA, CA_KEY = (pem.decode() for pem in certificates.new_ca("ca", NOW, timedelta(days=1)))
SECRET = "hunter2-recognisable"

names = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=30)
yaml_traps = st.sampled_from(["true", "null", "1e3", "0x1F", "~", "2024-01-01", "- a", "a: b", "#", "&a"])
clusters = st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True)
hosts = st.from_regex(r"https://[a-z]{1,8}(:[1-9][0-9]{0,3})?", fullmatch=True)
entries = st.builds(
    Entry, cluster=clusters | yaml_traps, server=hosts, ca_pem=st.just(CA), username=names | yaml_traps,
    certificate_pem=st.just(CA), key_pem=st.just(CA_KEY),
)
scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=12)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(entries)
def test_what_is_written_is_read_back(entry: Entry) -> None:
    text = write([entry])
    assert read(text) == Access(entry.server, entry.ca_pem, "", entry.certificate_pem, entry.key_pem)
    assert yaml.safe_load(text)["current-context"] == f"{entry.username}@{entry.cluster}"


@settings(deadline=None)
@given(st.lists(entries, min_size=1, max_size=4, unique_by=lambda entry: entry.cluster), st.data())
def test_every_cluster_is_found_by_its_context(several: list[Entry], data: st.DataObject) -> None:
    chosen = data.draw(st.sampled_from(several))
    assert read(write(several), f"{chosen.username}@{chosen.cluster}").server == chosen.server


@settings(deadline=None)
@given(st.lists(entries, max_size=3, unique_by=lambda entry: entry.cluster))
def test_writing_is_deterministic(several: list[Entry]) -> None:
    assert write(several) == write(several)


def sections(inner: st.SearchStrategy[Any], what: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(st.fixed_dictionaries({"name": st.sampled_from(["a", "b"]), what: inner}), max_size=2)


keys = st.sampled_from(["server", "token", "exec", "cluster", "user", "client-key-data", "proxy-url"])
inners = anything | st.dictionaries(keys, anything | st.sampled_from(["a", "https://h", SECRET]), max_size=4)
documents = st.fixed_dictionaries(
    {"kind": st.just("Config")},
    optional={
        "current-context": st.just("a") | anything,
        "contexts": sections(inners | st.just({"cluster": "a", "user": "a"}), "context"),
        "clusters": sections(inners | st.just({"server": "https://h"}), "cluster"),
        "users": sections(inners | st.just({"token": SECRET}), "user"),
    },
)


@settings(deadline=None)
@given(documents.map(json.dumps) | documents.map(yaml.safe_dump))
def test_a_foreign_kubeconfig_is_read_or_refused_and_never_quoted(text: str) -> None:
    try:
        access = read(text)
    except Invalid as refused:
        assert SECRET not in str(refused)  # noqa: PT017 - either way out is fine, a leak is not
        return
    assert access.server.lower().startswith("https://")
    assert access.token or (access.certificate_pem and access.key_pem)


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_text_is_read_or_refused(text: str) -> None:
    try:
        read(text)
    except Invalid as refused:
        assert refused.field  # noqa: PT017 - either way out is fine


@settings(deadline=None)
@given(st.text(max_size=20).map(lambda rest: f"https://{rest}") | st.text(max_size=30))
def test_a_server_is_https_or_refused(server: str) -> None:
    try:
        taken = check_server(server)
    except Invalid:
        return
    parts = urlsplit(taken)
    assert parts.scheme == "https"
    assert parts.hostname
    assert not any((parts.username, parts.query, parts.fragment))
