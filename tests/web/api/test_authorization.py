"""Who may use each route of the API. The tests walk the table of routes, so no route can be forgotten."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from accounts import api_tokens
from accounts.models import Staff
from core import clock
from tests.web.api.conftest import ALL_SCOPES, ApiSite
from tickets.permissions import MANAGERS
from web.api.routes import ROUTES, ApiRoute

#: Routes for managers only; a new one must be listed here.
MANAGER_ROUTES = {"move"}
#: Valid bodies.
BODIES: dict[str, dict[str, Any]] = {
    "create_ticket": {"description": "x", "name": "Lee"},
    "reply": {"text": "x"},
    "recap": {"send": False},
    "add_note": {"text": "x"},
    "reopen": {"reason": "x"},
    "move": {"stage": 4, "reason": "x"},
    "add_task": {"title": "x", "due_at": (clock.now() + timedelta(days=3)).isoformat()},
    "reopen_task": {"reason": "x"},
    "postpone_task": {"due_at": (clock.now() + timedelta(days=4)).isoformat(), "reason": "x"},
}
each_route = pytest.mark.parametrize("route", ROUTES, ids=[route.operation_id for route in ROUTES])


def send_request(api: ApiSite, route: ApiRoute, headers: dict[str, str], ticket: str = "BS-000001") -> Any:
    path = route.template.replace("{number}", ticket).replace("{id}", "1")
    body = {"json": BODIES.get(route.operation_id, {})} if route.body is not None else {}
    return api.site.client.request(route.method, path, headers=headers, **body)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def revoked_token(api: ApiSite) -> str:
    token = api.issue("mara")

    def unit(session: Any) -> None:
        found = api_tokens.authenticate(session, token, clock.now())
        assert found is not None
        api_tokens.revoke(session, found.token_id, clock.now())

    api.site.database.transaction(unit)
    return token


INVALID_CREDENTIALS: dict[str, Callable[[ApiSite], dict[str, str]]] = {
    "no token": lambda _: {},
    "another scheme": lambda api: {"Authorization": f"Basic {api.tokens['mara']}"},
    "an empty token": lambda _: {"Authorization": "Bearer"},
    "an unknown token": lambda _: bearer("casemill_" + "x" * 43),
    "a truncated token": lambda api: bearer(api.tokens["mara"][:-1]),
    "a revoked token": lambda api: bearer(revoked_token(api)),
    "an expired token": lambda api: bearer(api.issue("mara", days=1, ago=timedelta(days=2))),
    "a token of inactive staff": lambda api: bearer(api.tokens["ivan"]),
}


def test_no_route_answers_without_valid_token(api: ApiSite) -> None:
    ticket = api.ticket()
    for who, make in INVALID_CREDENTIALS.items():
        headers = make(api)
        for route in ROUTES:
            response = send_request(api, route, headers, ticket)
            assert response.status_code == 401, (who, route.operation_id)
            assert response.headers["www-authenticate"].startswith("Bearer")
            assert response.json()["code"] == "no_token"
    assert len(api.get(f"/tickets/{ticket}")["timeline"]) == 2, "no refused request may change the ticket"


def test_unsupported_method_without_token_is_unauthorized(api: ApiSite) -> None:
    response = api.site.client.delete("/api/v1/tickets")
    assert (response.status_code, response.json()["code"]) == (401, "no_token")
    assert "allow" not in response.headers


def test_token_without_scope_is_refused(api: ApiSite) -> None:
    ticket = api.ticket()
    for scope in ALL_SCOPES:
        others = bearer(api.issue("mara", [one for one in ALL_SCOPES if one != scope]))
        for route in ROUTES:
            if route.scope == scope:
                response = send_request(api, route, others, ticket)
                assert (response.status_code, response.json()["code"]) == (403, "scope_missing"), route.operation_id


def test_representative_is_refused_manager_routes(api: ApiSite) -> None:
    ticket = api.ticket()
    assert {route.operation_id for route in ROUTES} >= MANAGER_ROUTES
    for route in ROUTES:
        response = send_request(api, route, bearer(api.tokens["ruth"]), ticket)
        is_refused = response.status_code == 403
        assert is_refused == (route.operation_id in MANAGER_ROUTES), (route.operation_id, response.text)


def test_unknown_role_may_write_nothing(api: ApiSite) -> None:
    ticket = api.ticket()
    with api.site.database.write() as session:
        session.query(Staff).filter_by(email="ruth@billing.example").one().role = "visitor"
    assert "visitor" not in MANAGERS
    for route in ROUTES:
        if route.is_write and "{id}" not in route.path:
            response = send_request(api, route, bearer(api.tokens["ruth"]), ticket)
            assert (response.status_code, response.json()["code"]) == (403, "unknown_role"), route.operation_id


@each_route
def test_every_route_declares_scope_and_body(route: ApiRoute) -> None:
    assert route.scope in ALL_SCOPES
    assert route.scope.endswith(":write") == route.is_write
    assert (route.body is not None) == route.is_write
    assert route.summary.endswith(".")


def test_operation_ids_and_addresses_are_unique() -> None:
    assert len({route.operation_id for route in ROUTES}) == len(ROUTES)
    assert len({(route.method, route.template) for route in ROUTES}) == len(ROUTES)


def test_use_of_token_is_recorded_once_a_minute(api: ApiSite) -> None:
    def last_used_at() -> Any:
        with api.site.database.read() as session:
            rows = api_tokens.list_tokens(session, clock.now())
        return next(row for row in rows if row["staff"] == "mara@billing.example")["last_used_at"]

    assert last_used_at() is None
    api.get("/tickets")
    first = last_used_at()
    assert first is not None
    api.get("/tickets")
    assert last_used_at() == first
