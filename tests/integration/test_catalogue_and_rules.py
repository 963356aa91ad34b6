"""The catalogue and the approval rules: what an administrator may write, and what nobody could ever satisfy."""

from __future__ import annotations

from typing import Any

import pytest
from fixtures.asking import Scene, scene
from fixtures.offline import events, give, stored

from iam.errors import Conflict, Forbidden, Invalid, NotFound
from iam.models import ApprovalRule, CatalogueEntry
from iam.services.requests.asking import Ask

__all__ = ["scene"]


class TestCatalogue:
    @pytest.mark.parametrize("wrong", [
        {"title": " "}, {"title": "x" * 121}, {"role": ""}, {"role": "system:masters"}, {"role": "a/b"}, {"role_kind": "Pod"},
        {"clusters": ()}, {"clusters": ("(whole cluster)",)}, {"clusters": ("UPPER",)}, {"namespaces": ()}, {"namespaces": ("a b",)},
        {"role_kind": "Role", "namespaces": ("(whole cluster)",)}, {"groups": ("engineers",)}, {"groups": ("moon:engineers",)},
        {"longest": "10 years"}, {"longest": "3660d"}, {"longest": "1m"}, {"longest": ""}, {"description": "x" * 65536},
        {"namespaces": tuple(f"n{number}" for number in range(201))},
    ])  # fmt: skip
    def test_what_is_refused(self, scene: Scene, wrong: dict[str, Any]) -> None:
        with pytest.raises(Invalid):
            scene.offer(**({"name": "new", "role": "view"} | wrong))
        assert [one.name for one in stored(scene.product, CatalogueEntry)] == ["edit"]

    def test_a_name_is_there_once(self, scene: Scene) -> None:
        with pytest.raises(Conflict):
            scene.offer()
        with pytest.raises(NotFound):
            scene.offer("other", change=True)

    @pytest.mark.parametrize("who", ["erin", "lee", "aude"])
    def test_only_administrators_write(self, scene: Scene, who: str) -> None:
        with pytest.raises(Forbidden):
            scene.offer("new", by=who)
        with pytest.raises(Forbidden):
            scene.rule("automatic", by=who)
        assert len(events(scene.product, action="access.denied")) == 2

    def test_each_change_is_recorded(self, scene: Scene) -> None:
        ada = scene.actor("ada")
        scene.offer(change=True, longest="2h")
        scene.rule("1 of local:leads")
        with scene.open() as product:
            product.services.rules.remove(ada, "rule")
            product.services.catalogue.remove(ada, "edit")
        assert scene.said("edit") == ["catalogue.changed", "catalogue.changed", "catalogue.removed"]
        assert scene.said("rule") == ["rule.changed", "rule.removed"]


class TestRules:
    @pytest.mark.parametrize("stages", [
        "", "   \n", "nobody", "0 of local:leads", "11 of local:leads", "2 of lead", "1 of moon:leads", "local:",
        "automatic\n1 of local:leads", "1 of local:leads or 1 of local:security",
        "1 of local:leads and", "1 of local:leads and 1 of local:leads",
        "\n".join(["1 of local:leads"] * 6), "1 of system:masters",
    ])  # fmt: skip
    def test_stages_that_make_no_sense(self, scene: Scene, stages: str) -> None:
        with pytest.raises(Invalid) as refused:
            scene.rule(stages)
        assert refused.value.field == "stages"

    @pytest.mark.parametrize("stages", [
        "3 of local:leads", "1 of local:nobody", "2 of local:leads\n1 of local:leads", "1 of local:leads\n2 of local:leads",
        "1 of local:leads and 3 of local:security",
    ])  # fmt: skip
    def test_what_nobody_could_meet_is_refused_when_it_is_written(self, scene: Scene, stages: str) -> None:
        with pytest.raises(Invalid) as refused:
            scene.rule(stages)
        assert refused.value.field == "stages"
        assert stored(scene.product, ApprovalRule) == []

    def test_accounts_of_one_person_are_one_and_who_is_shut_out_is_none(self, scene: Scene) -> None:
        scene.remember("lee2", "leads", email="lee+two@example.org")
        with pytest.raises(Invalid):
            scene.rule("3 of local:leads")
        scene.shut_out("lou")
        with pytest.raises(Invalid):
            scene.rule("2 of local:leads")
        scene.rule("1 of local:leads")

    def test_owners_of_namespaces_that_have_none(self, scene: Scene) -> None:
        with pytest.raises(Invalid):
            scene.rule("1 of owners", namespaces=("(whole cluster)",))
        with pytest.raises(Invalid):
            scene.rule("1 of owners", namespaces=("shop",), clusters=("prod",))
        give(scene.product, "local:leads", "admin", "shop")
        scene.rule("1 of owners", clusters=("prod",), namespaces=("shop",))

    @pytest.mark.parametrize("wrong", [
        {"longest": "366d"}, {"lapses": "91d"}, {"reason_pattern": "("}, {"ticket_pattern": "(?=a)"}, {"ticket_pattern": "x" * 201},
        {"clusters": ("a b",)}, {"namespaces": ("!",)},
    ])  # fmt: skip
    def test_limits_and_patterns(self, scene: Scene, wrong: dict[str, Any]) -> None:
        with pytest.raises(Invalid):
            scene.rule("1 of local:leads", **wrong)

    def test_rules_stand_where_they_were_put(self, scene: Scene) -> None:
        for name, position in (("a", None), ("b", None), ("c", 1), ("d", 2), ("e", 99)):
            scene.rule("1 of local:leads", name, position=position)
        scene.rule("1 of local:security", "e", change=True, position=1)
        scene.rule("1 of local:security", "b", change=True)
        with scene.open() as product:
            assert [one.name for one in product.services.rules.listed(product.operator)] == ["e", "c", "d", "a", "b"]
        with pytest.raises(Conflict):
            scene.rule("1 of local:leads", "a")

    def test_the_simulator_says_which_rule_counts_and_why_the_others_do_not(self, scene: Scene) -> None:
        scene.offer("view", "view")
        scene.rule("1 of local:leads", "other-entry", entry="view")
        scene.rule("1 of local:leads", "other-cluster", clusters=("test-*",))
        scene.rule("1 of local:leads", "other-namespace", namespaces=("till",))
        scene.rule("automatic", "harmless")
        scene.rule("1 of local:leads", "most")
        scene.rule("1 of local:leads", "never-reached")
        ada = scene.actor("ada")
        with scene.open() as product:
            ((cluster, namespace, tried, parts),) = product.services.requests.simulate(
                ada, "erin", Ask("edit", ("prod",), ("shop",), reason="why")
            )
            assert (cluster, namespace) == ("prod", "shop")
            assert [(one.rule.name, one.why_not) for one in tried] == [
                ("other-entry", "entry"), ("other-cluster", "cluster"), ("other-namespace", "namespace"), ("harmless", "dangerous"),
                ("most", ""),
            ]
            assert isinstance(parts, list)
            assert [[person.username for person in people] for stage in parts[0].asked for _need, people in stage] == [["lee", "lou"]]
        assert scene.asked() == set()
