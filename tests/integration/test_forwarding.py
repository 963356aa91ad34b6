"""The trail goes on to other systems: in order, at least once, from where it was, told of when it does not arrive. Anchors of its head."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fixtures.offline import events
from fixtures.product import Product, ProductMaker
from rigs.processes import free_port
from rigs.syslog_server import SyslogServer
from rigs.webhook_receiver import Answer, WebhookReceiver

from iam.clusters.client import ApiServer
from iam.clusters.throwaway import ControlPlane
from iam.evidence.blocks import Head
from iam.evidence.reading import read_anchors
from iam.kube.kubeconfig import read as read_kubeconfig
from iam.notify.webhook import new_secret, signature
from iam.services.audit import Event, Target
from iam.services.audit.anchoring import KEY
from iam.services.audit.forwarding import AT_ONCE, Standing
from iam.services.base import transaction


def happen(product: Product, count: int, what: str = "key") -> None:
    """So many events, in one transaction."""
    with product.app.app_context(), transaction():
        for number in range(count):
            product.services.audit.record(product.operator, Event.TOKEN_CREATED, Target("token", f"{what} {number}"))


def standing(product: Product) -> Standing:
    with product.app.app_context():
        (found,) = product.services.forwarding.standings(product.operator)
        return found


def deliver(product: Product) -> None:
    """Seal what waits, and one turn of the forwarder."""
    with product.app.app_context():
        product.services.sealer.seal()
        for name in product.services.forwarding.due():
            product.services.forwarding.deliver(name)


def numbers(lines: list[str]) -> list[int]:
    """The events' numbers in the order they came."""
    return [int(found.group(1)) for line in lines if (found := re.search(r'\{"seq":(\d+),"event":', line))]


class TestSyslog:
    @pytest.fixture
    def server(self) -> Iterator[SyslogServer]:
        with SyslogServer() as server:
            yield server

    @pytest.fixture
    def product(self, make_product: ProductMaker, server: SyslogServer) -> Product:
        forward = {"kind": "syslog", "name": "siem", "host": "localhost", "port": server.tls_port, "ca_file": str(server.ca_file)}
        return make_product(audit={"forward": [forward]})

    def test_every_event_arrives_over_tls_across_restarts_and_a_kill(self, product: Product, server: SyslogServer) -> None:
        for turn in range(6):
            happen(product, AT_ONCE + 100, f"turn {turn}")
            if turn == 2:
                server.stop()
            if turn == 4:
                server.kill()
            deliver(product)
            if turn in {2, 4}:
                assert "syslog server localhost" in standing(product).error
                server.start()
                product.clock.forward(minutes=10)
        deliver(product)
        arrived = numbers(server.received())
        assert sorted(set(arrived)) == list(range(1, standing(product).position + 1))
        assert list(dict.fromkeys(arrived)) == sorted(set(arrived)), "in order, but for what was sent again"
        assert (standing(product).behind, standing(product).error) == (0, "")

    def test_a_message_says_what_happened_and_is_the_sealed_text(self, product: Product, server: SyslogServer) -> None:
        happen(product, 1, "läuft \u202e \x1b[31m\n] = |")
        deliver(product)
        (message,) = [line for line in server.received() if "token.created" in line]
        assert message.startswith("<109>1 ")
        assert "\n" not in message
        sealed = json.loads(message[message.index('{"seq":') :])["event"]
        (event,) = events(product, action="token.created")
        assert json.dumps(sealed, separators=(",", ":")) == event.body


class TestOutage:
    def test_what_does_not_arrive_waits_is_told_of_once_and_arrives_later(self, make_product: ProductMaker, tmp_path: Path) -> None:
        blocked = tmp_path / "blocked"
        blocked.write_text("a file where a folder should be")
        product = make_product(audit={"forward": [{"kind": "file", "name": "lines", "path": str(blocked / "audit.jsonl")}]})
        happen(product, 3)
        for _ in range(3):
            deliver(product)
            product.clock.forward(minutes=6)
        assert standing(product).is_late
        assert standing(product).lag_seconds >= 600
        (told,) = events(product, action="audit.lags")
        assert (told.target_name, told.result) == ("lines", "failed")
        product.account("ada", "administrators")
        assert "does not arrive at lines" in product.logged_in("ada").get("/status").text
        assert 'kube_iam_audit_behind{forwarder="lines"} ' in product.app.test_client().get("/metrics").text
        blocked.unlink()
        product.clock.forward(minutes=6)
        deliver(product)
        deliver(product)
        (mended,) = events(product, action="audit.caught.up")
        assert mended.target_name == "lines"
        deliver(product)
        lines = (blocked / "audit.jsonl").read_text().splitlines()
        assert numbers(lines) == list(range(1, standing(product).position + 1))

    def test_a_webhook_gets_signed_batches_and_the_same_again_after_a_failure(self, make_product: ProductMaker, tmp_path: Path) -> None:
        with WebhookReceiver(tmp_path / "hook") as receiver:
            secret = new_secret()
            forward = {"kind": "webhook", "name": "hook", "url": receiver.url(), "secret": secret, "format": "ocsf"}
            inside = {"inside_networks": ["127.0.0.0/8"], "ca_file": str(receiver.ca_file)}
            product = make_product(audit={"forward": [forward]}, webhooks=inside)
            happen(product, 5)
            receiver.answer = Answer(503)
            deliver(product)
            assert "503" in standing(product).error
            receiver.answer = Answer(204)
            product.clock.forward(minutes=1)
            deliver(product)
            first, again = receiver.calls[:2]
        assert (first.headers["webhook-id"], first.body) == (again.headers["webhook-id"], again.body)
        assert json.loads(again.body)["data"][0]["metadata"]["product"]["name"] == "kube-iam"
        timestamp = int(again.headers["webhook-timestamp"])
        assert again.headers["webhook-signature"] == signature(secret, again.headers["webhook-id"], timestamp, again.body)

    def test_a_full_disk_leaves_no_half_line(self, make_product: ProductMaker) -> None:
        product = make_product(audit={"forward": [{"kind": "file", "name": "full", "path": "/dev/full"}]})
        happen(product, 3)
        deliver(product)
        assert standing(product).error == "/dev/full: No space left on device"
        assert standing(product).position == 0


class TestAnchors:
    def anchored(self, product: Product) -> Any:
        with product.app.app_context():
            product.services.sealer.seal()
            for name in product.services.anchoring.due():
                product.services.anchoring.anchor(name)
            (found,) = product.services.anchoring.standings(product.operator)
            return found

    def head(self, product: Product) -> Head:
        with product.app.app_context():
            found = product.services.sealer.head()
        assert found
        return found

    def test_a_file_gets_a_line_for_each_head_at_most_once_a_minute(self, make_product: ProductMaker, tmp_path: Path) -> None:
        path = tmp_path / "heads.jsonl"
        product = make_product(audit={"anchors": [{"kind": "file", "name": "vault", "path": str(path)}]})
        for count in (1, 2):
            happen(product, count)
            self.anchored(product)
        assert len(path.read_bytes().splitlines()) == 1
        product.clock.forward(minutes=1)
        assert self.anchored(product).position == self.head(product).number
        assert list(read_anchors(path.read_bytes().splitlines()))[-1].head == self.head(product)

    def test_a_config_map_of_a_cluster(self, make_product: ProductMaker, control_plane: ControlPlane) -> None:
        api = ApiServer(read_kubeconfig(control_plane.kubeconfig()))
        product = make_product(audit={"anchors": [{"kind": "configmap", "name": "prod", "cluster": "prod", "namespace": "default"}]})
        happen(product, 1)
        assert self.anchored(product).error == "There is no cluster prod."
        product.register(control_plane)
        product.clock.forward(minutes=10)
        assert "configmaps/kube-iam-audit-head" in self.anchored(product).error
        api.post("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "kube-iam-audit-head"}})
        product.clock.forward(minutes=10)
        try:
            assert self.anchored(product).error == ""
            kept = api.get("/api/v1/namespaces/default/configmaps/kube-iam-audit-head")["data"][KEY]
        finally:
            api.delete("/api/v1/namespaces/default/configmaps/kube-iam-audit-head")
        assert [one.head for one in read_anchors([kept.encode()])] == [self.head(product)]

    def test_a_webhook_that_does_not_answer_is_tried_again(self, make_product: ProductMaker) -> None:
        anchor = {"kind": "webhook", "name": "far", "url": f"https://127.0.0.1:{free_port()}/", "secret": "s" * 32}
        product = make_product(audit={"anchors": [anchor]}, webhooks={"inside_networks": ["127.0.0.0/8"]})
        happen(product, 1)
        found = self.anchored(product)
        assert (found.position, bool(found.error), found.delivered_at, found.is_late) == (0, True, None, False)
        product.clock.forward(minutes=10)
        late = self.anchored(product)
        assert (late.is_late, late.behind) == (True, self.head(product).number)
