"""The OpenAPI document, and the conformance of the API to it, tested with schemathesis."""

from __future__ import annotations

import warnings
from typing import Any

from tests.web.api.conftest import ApiSite
from web.api import openapi
from web.api.routes import ROUTES

EXAMPLES = 6


def test_document_has_every_route_and_no_other(api: ApiSite) -> None:
    document = api.site.client.get("/api/v1/openapi.json").json()
    listed = {(method.upper(), path) for path, operations in document["paths"].items() for method in operations}
    assert listed == {(route.method, route.template) for route in ROUTES}
    assert document["openapi"] == "3.1.1"
    assert openapi.build_document() is openapi.build_document()


def test_every_reference_of_document_resolves(api: ApiSite) -> None:
    document = api.site.client.get("/api/v1/openapi.json").json()
    names = {one.rpartition("/")[2] for one in find_references(document)}
    assert names <= set(document["components"]["schemas"])
    assert "Problem" in names


def find_references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(find_references, value.values()))
    return set().union(*map(find_references, value)) if isinstance(value, list) else set()


def test_api_conforms_to_its_document(api: ApiSite) -> None:
    """Valid and invalid requests generated from the document get no 5xx and only documented responses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import schemathesis
        from hypothesis import HealthCheck, Phase, given, settings
        from schemathesis.specs.openapi.checks import positive_data_acceptance

    api.post(f"/tickets/{api.ticket()}/tasks", {"title": "x", "due_at": "2031-01-01T00:00:00Z"})
    schema = schemathesis.openapi.from_url(f"{api.site.url}/api/v1/openapi.json")
    headers = {"Authorization": f"Bearer {api.tokens['mara']}"}
    tried = set()
    for result in schema.get_all_operations():
        operation = result.ok()
        tried.add((operation.method.upper(), operation.path))

        @settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, phases=[Phase.explicit, Phase.generate],
                  suppress_health_check=list(HealthCheck))  # fmt: skip
        @given(case=operation.as_strategy())
        def check(case: Any) -> None:
            # The rules may refuse a valid request: a recap with an unfilled placeholder, an unknown cursor.
            case.call_and_validate(headers=headers, excluded_checks=[positive_data_acceptance])

        check()
    assert tried == {(route.method, route.template) for route in ROUTES}
