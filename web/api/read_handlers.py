"""What the API lets read: lists by pages, and single records."""

from __future__ import annotations

from typing import Any

from accounts import listings
from accounts.directory import find_person
from accounts.listings import Page
from ingest.ledger import queries as items
from tickets import queries, tasks
from tickets.deadlines import day_after
from web.api.context import Call, page
from web.api.problems import ProblemError


def list_tickets(call: Call) -> dict[str, Any]:
    asked = call.query
    rows = queries.list_tickets(
        call.session, asked.view, call.now, limit=asked.limit + 1, source=asked.source, company_id=asked.company,
        before=call.after(), day_ends=day_after(call.now, call.by.zone), person_id=call.by.id,
    )  # fmt: skip
    return page(rows, asked.limit)


def show_ticket(call: Call) -> dict[str, Any]:
    ticket = queries.show(call.session, call.ticket_id())
    if ticket is None:
        raise ProblemError(404, "not_found", "there is no such ticket")
    return ticket


def list_companies(call: Call) -> dict[str, Any]:
    cut = Page(call.after() or 0, call.query.limit + 1)
    rows = [one.as_dict() for one in listings.list_companies(call.session, find=call.query.find, page=cut)]
    return page(rows, call.query.limit)


def show_company(call: Call) -> dict[str, Any]:
    return _only(listings.list_companies(call.session, page=Page(only=call.number("id"))))


def list_contacts(call: Call) -> dict[str, Any]:
    cut = Page(call.after() or 0, call.query.limit + 1)
    found = listings.list_contacts(call.session, company=call.query.company, find=call.query.find, page=cut)
    return page([one.as_dict() for one in found], call.query.limit)


def show_contact(call: Call) -> dict[str, Any]:
    return _only(listings.list_contacts(call.session, page=Page(only=call.number("id"))))


def list_tasks(call: Call) -> dict[str, Any]:
    asked = call.query
    assignee = find_person(call.session, asked.assignee).email if asked.assignee else None
    rows = tasks.list_tasks(
        call.session, call.now, assignee=assignee, done=asked.done, until=asked.due_before,
        after=call.after(), limit=asked.limit + 1,
    )  # fmt: skip
    return page(rows, asked.limit)


def show_task(call: Call) -> dict[str, Any]:
    task = tasks.show_task(call.session, call.number("id"), call.now)
    if task is None:
        raise ProblemError(404, "not_found", "there is no such task")
    return task


def list_items(call: Call) -> dict[str, Any]:
    asked = call.query
    rows = items.list_items(
        call.session, state=asked.state, disposition=asked.disposition, source=asked.source, before=call.after(),
        limit=asked.limit + 1,
    )  # fmt: skip
    return page(rows, asked.limit)


def show_item(call: Call) -> dict[str, Any]:
    return items.show_item(call.session, call.number("id"))


def _only(found: list[Any]) -> dict[str, Any]:
    if not found:
        raise ProblemError(404, "not_found", "there is nothing of that number")
    one: dict[str, Any] = found[0].as_dict()
    return one
