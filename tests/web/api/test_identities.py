"""Every address of the API with everybody who might ask: the table of routes is walked, so none can be forgotten."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from accounts import api_tokens
from accounts.models import Staff
from core import clock
from tests.web.api.conftest import ALL, Desk
from tickets.permissions import MANAGERS
from web.api.routes import ROUTES, Route

#: For managers only, by the table of permissions; a new route of that kind has to be named here.
FOR_MANAGERS = {"move"}
#: Bodies that are good as far as shape goes.
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
each_route = pytest.mark.parametrize("route", ROUTES, ids=[route.name for route in ROUTES])


def ask(desk: Desk, route: Route, headers: dict[str, str], ticket: str = "BS-000001") -> Any:
    path = route.template.replace("{number}", ticket).replace("{id}", "1")
    body = {"json": BODIES.get(route.name, {})} if route.body is not None else {}
    return desk.site.client.request(route.method, path, headers=headers, **body)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def revoked(desk: Desk) -> str:
    token = desk.issue("mara")

    def unit(session: Any) -> None:
        found = api_tokens.find(session, token, clock.now())
        assert found is not None
        api_tokens.revoke(session, found.token_id, clock.now())

    desk.site.database.transaction(unit)
    return token


STRANGERS: dict[str, Callable[[Desk], dict[str, str]]] = {
    "nobody": lambda _: {},
    "another scheme": lambda desk: {"Authorization": f"Basic {desk.tokens['mara']}"},
    "an empty token": lambda _: {"Authorization": "Bearer"},
    "an unknown token": lambda _: bearer("casemill_" + "x" * 43),
    "a token cut short": lambda desk: bearer(desk.tokens["mara"][:-1]),
    "a revoked token": lambda desk: bearer(revoked(desk)),
    "a token that is over": lambda desk: bearer(desk.issue("mara", days=1, ago=timedelta(days=2))),
    "somebody who has left": lambda desk: bearer(desk.tokens["ivan"]),
}


def test_no_route_answers_a_stranger(desk: Desk) -> None:
    ticket = desk.ticket()
    for who, make in STRANGERS.items():
        headers = make(desk)
        for route in ROUTES:
            answer = ask(desk, route, headers, ticket)
            assert answer.status_code == 401, (who, route.name)
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.json()["code"] == "no_token"
    assert len(desk.get(f"/tickets/{ticket}")["timeline"]) == 2, "nothing was done for any of them"


def test_a_token_does_nothing_that_its_scopes_do_not_name(desk: Desk) -> None:
    ticket = desk.ticket()
    for scope in ALL:
        others = bearer(desk.issue("mara", [one for one in ALL if one != scope]))
        for route in ROUTES:
            if route.scope == scope:
                answer = ask(desk, route, others, ticket)
                assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing"), route.name


def test_what_is_for_managers_a_representative_does_not_do(desk: Desk) -> None:
    ticket = desk.ticket()
    assert {route.name for route in ROUTES} >= FOR_MANAGERS
    for route in ROUTES:
        answer = ask(desk, route, bearer(desk.tokens["ruth"]), ticket)
        is_refused = answer.status_code == 403
        assert is_refused == (route.name in FOR_MANAGERS), (route.name, answer.text)


def test_a_role_that_is_none_does_nothing(desk: Desk) -> None:
    ticket = desk.ticket()
    with desk.site.database.write() as session:
        session.query(Staff).filter_by(email="ruth@billing.example").one().role = "visitor"
    assert "visitor" not in MANAGERS
    for route in ROUTES:
        if route.writes and "{id}" not in route.path:
            answer = ask(desk, route, bearer(desk.tokens["ruth"]), ticket)
            assert (answer.status_code, answer.json()["code"]) == (403, "unknown_role"), route.name


@each_route
def test_every_route_says_what_it_needs(route: Route) -> None:
    assert route.scope in ALL
    assert route.scope.endswith(":write") == route.writes
    assert (route.body is not None) == route.writes
    assert route.does.endswith(".")


def test_no_two_routes_have_the_same_name_or_address() -> None:
    assert len({route.name for route in ROUTES}) == len(ROUTES)
    assert len({(route.method, route.template) for route in ROUTES}) == len(ROUTES)


def test_the_use_of_a_token_is_noted_and_not_with_every_call(desk: Desk) -> None:
    def used() -> Any:
        with desk.site.database.read() as session:
            rows = api_tokens.list_tokens(session, clock.now())
        return next(row for row in rows if row["staff"] == "mara@billing.example")["last_used_at"]

    assert used() is None
    desk.get("/tickets")
    first = used()
    assert first is not None
    desk.get("/tickets")
    assert used() == first
