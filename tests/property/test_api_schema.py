"""Whatever the OpenAPI document allows, and what it does not: no answer is a 5xx, every answer is as documented."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from fixtures.offline import give, offline
from fixtures.product import ProductMaker
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import content_type_conformance, ignored_auth, response_schema_conformance

CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance, ignored_auth]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["as documented", "not as documented"])
def test_no_request_breaks_the_api(make_product: ProductMaker, mode: GenerationMode) -> None:
    product = make_product(throttle={"per_account": 10**6, "per_address": 10**6})
    product.account("ada", "administrators")
    offline(product)
    give(product, "local:administrators", "edit", "shop")
    headers = product.token("ada", "read", "write", "kubeconfig")
    schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", product.app)
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    assert len(operations) > 20
    for operation in operations:

        @settings(
            max_examples=15, deadline=None, database=None, derandomize=True, phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def holds(case: Any) -> None:
            case.call_and_validate(headers=headers, checks=CHECKS)

        holds()
