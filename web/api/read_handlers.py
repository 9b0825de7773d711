"""Handlers of the API's read operations: paged lists and single records.

The table in :mod:`web.api.routes` says what each handler does. Its name is the operationId of the OpenAPI document.
"""

from __future__ import annotations

from typing import Any

from accounts import listings
from accounts.directory import find_person
from accounts.listings import IdPage
from ingest.ledger import queries as items
from tickets import queries, tasks
from tickets.deadlines import day_after
from web.api.context import Call, build_page
from web.api.problems import ProblemError


def list_tickets(call: Call) -> dict[str, Any]:
    query = call.query
    rows = queries.list_tickets(
        call.session, query.view, call.now, limit=query.limit + 1, source=query.source, company_id=query.company,
        before=call.cursor_id(), day_ends=day_after(call.now, call.staff.zone), person_id=call.staff.id,
    )  # fmt: skip
    return build_page(rows, query.limit)


def show_ticket(call: Call) -> dict[str, Any]:
    ticket = queries.show(call.session, call.ticket_id())
    if ticket is None:
        raise ProblemError(404, "not_found", "there is no such ticket")
    return ticket


def list_companies(call: Call) -> dict[str, Any]:
    cut = IdPage(call.cursor_id() or 0, call.query.limit + 1)
    rows = [one.as_dict() for one in listings.list_companies(call.session, find=call.query.find, page=cut)]
    return build_page(rows, call.query.limit)


def show_company(call: Call) -> dict[str, Any]:
    return _single(listings.list_companies(call.session, page=IdPage(only=call.number("id"))))


def list_contacts(call: Call) -> dict[str, Any]:
    cut = IdPage(call.cursor_id() or 0, call.query.limit + 1)
    found = listings.list_contacts(call.session, company=call.query.company, find=call.query.find, page=cut)
    return build_page([one.as_dict() for one in found], call.query.limit)


def show_contact(call: Call) -> dict[str, Any]:
    return _single(listings.list_contacts(call.session, page=IdPage(only=call.number("id"))))


def list_tasks(call: Call) -> dict[str, Any]:
    query = call.query
    assignee = find_person(call.session, query.assignee).email if query.assignee else None
    rows = tasks.list_tasks(
        call.session, call.now, assignee=assignee, done=query.done, until=query.due_before,
        after=call.cursor_id(), limit=query.limit + 1,
    )  # fmt: skip
    return build_page(rows, query.limit)


def show_task(call: Call) -> dict[str, Any]:
    task = tasks.show_task(call.session, call.number("id"), call.now)
    if task is None:
        raise ProblemError(404, "not_found", "there is no such task")
    return task


def list_items(call: Call) -> dict[str, Any]:
    query = call.query
    rows = items.list_items(
        call.session, state=query.state, disposition=query.disposition, source=query.source, before=call.cursor_id(),
        limit=query.limit + 1,
    )  # fmt: skip
    return build_page(rows, query.limit)


def show_item(call: Call) -> dict[str, Any]:
    return items.show_item(call.session, call.number("id"))


def _single(found: list[Any]) -> dict[str, Any]:
    if not found:
        raise ProblemError(404, "not_found", "there is no record with that id")
    one: dict[str, Any] = found[0].as_dict()
    return one
