"""Merge two tickets that are one matter, and split one ticket that is two: acts of staff, recorded, without loss.

Entries of a timeline never move. A merged ticket is completed and names the ticket it was merged into; its entries are shown
with those of that ticket, and later answers to it are added there. A message that is split off stays where it is and begins a
ticket of its own.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import literal, or_, select, update
from sqlalchemy.orm import Session

from accounts.models import Contact, Staff
from core import blobs
from core.database.bulk import insert_ignore
from core.errors import NotFoundError, RefusedError
from core.reasons import Reason
from core.settings import Settings
from tickets import follow_ups, lifecycle, permissions
from tickets.intake import receive
from tickets.models import Activity, Attachment, Ticket, TicketContact, TicketLink, TicketThread
from tickets.numbers import format_number
from tickets.permissions import Action
from tickets.submission import Submission, SubmittedFile, TicketSource
from tickets.timeline import add_entry, require_text

SPLIT_OFF: Final = Reason("split_off", "Split off another ticket, whose creation notice the customer has already")


def merge(session: Session, ticket_id: int, into_id: int, by: Staff, reason: str, now: datetime) -> Ticket:
    """Merge ``ticket_id`` into ``into_id`` and return the latter. Raises :class:`NotFoundError`, :class:`RefusedError`."""
    permissions.require(by, Action.MERGE)
    why = require_text(reason)
    if ticket_id == into_id:
        raise RefusedError("same_ticket", "a ticket cannot be merged into itself", hint="give the number of another ticket")
    found = {ticket.id: ticket for ticket in _lock_tickets(session, ticket_id, into_id)}
    for wanted in (ticket_id, into_id):
        ticket = found.get(wanted)
        if ticket is None:
            raise NotFoundError(f"there is no ticket {format_number(wanted)}", hint="`casemill tickets` lists them")
        if ticket.merged_into is not None:
            text = f"{format_number(wanted)} was merged into {format_number(ticket.merged_into)} already"
            raise RefusedError("merged", text)
    source, target = found[ticket_id], found[into_id]
    lifecycle.close_as_merged(session, source, into_id, by, why, now)
    _move_open_work(session, ticket_id, into_id)
    note = Reason("merged", f"{format_number(ticket_id)} was merged into this ticket: {why}")
    _add_note(session, target, f"Merged with {format_number(ticket_id)}", note, by, now)
    _link(session, ticket_id, into_id, note, now)
    _settle_possible_duplicate(session, ticket_id, into_id, by, now)
    session.flush()
    return target


def split(session: Session, ticket_id: int, entry_id: int, by: Staff, reason: str, settings: Settings, now: datetime) -> int:
    """Make a ticket of the message ``entry_id``, owned by ``by``, and return its id. The customer gets no second creation notice.

    Raises :class:`NotFoundError`, :class:`RefusedError`.
    """
    permissions.require(by, Action.MERGE)
    why = require_text(reason)
    entry = session.execute(select(Activity).where(Activity.id == entry_id)).scalar_one_or_none()
    found = _lock_tickets(session, ticket_id)
    if not found or entry is None or entry.ticket_id != ticket_id:
        text = f"{format_number(ticket_id)} has no entry {entry_id}"
        raise NotFoundError(text, hint="`casemill ticket show --json` numbers them")
    if entry.kind != "message_in":
        text = f"entry {entry_id} is not a message from outside, so it cannot be split off"
        raise RefusedError("no_message", text)
    new_id = receive(session, [_build_submission(session, entry, by, why)], settings, now)[0].ticket_id
    note = Reason("split", f"The message “{entry.title}” was split off as {format_number(new_id)}: {why}")
    _add_note(session, found[0], f"Split off: {format_number(new_id)}", note, by, now)
    _link(session, new_id, ticket_id, Reason("split", f"Split off {format_number(ticket_id)}: {why}"), now)
    if entry.data.get("key"):
        session.execute(update(TicketThread).where(TicketThread.key == entry.data["key"]).values(ticket_id=new_id))
    session.flush()
    return new_id


def dismiss(session: Session, ticket_id: int, other_id: int, by: Staff, now: datetime) -> None:
    """Record that two tickets are no duplicates of each other. Raises :class:`NotFoundError` when that was not in question."""
    permissions.require(by, Action.MERGE)
    if not _settle_possible_duplicate(session, ticket_id, other_id, by, now):
        text = f"{format_number(other_id)} is not marked as a possible duplicate of {format_number(ticket_id)}"
        raise NotFoundError(text, hint="`casemill ticket show` lists a ticket's possible duplicates")
    for ticket in _lock_tickets(session, ticket_id):
        reason = Reason("match_dismissed", f"It is no duplicate of {format_number(other_id)}")
        _add_note(session, ticket, "Possible duplicate dismissed", reason, by, now)


def _lock_tickets(session: Session, *ticket_ids: int) -> list[Ticket]:
    """In the order of their ids, as every worker locks them."""
    statement = select(Ticket).where(Ticket.id.in_(ticket_ids)).order_by(Ticket.id).with_for_update(key_share=True)
    return list(session.execute(statement).scalars())


def _move_open_work(session: Session, ticket_id: int, into_id: int) -> None:
    """Move people, open tasks, thread keys, and the tickets that were merged into ``ticket_id`` before."""
    people = select(literal(into_id), TicketContact.contact_id, TicketContact.on_timeline)
    rows = [
        {"ticket_id": into_id, "contact_id": contact_id, "role": "participant", "on_timeline": shown}
        for _, contact_id, shown in session.execute(people.where(TicketContact.ticket_id == ticket_id))
    ]
    insert_ignore(session, TicketContact, sorted(rows, key=lambda row: int(row["contact_id"])))
    follow_ups.move_open_tasks(session, ticket_id, into_id)
    session.execute(update(TicketThread).where(TicketThread.ticket_id == ticket_id).values(ticket_id=into_id))
    session.execute(update(Ticket).where(Ticket.merged_into == ticket_id).values(merged_into=into_id))


def _add_note(session: Session, ticket: Ticket, title: str, reason: Reason, by: Staff, now: datetime) -> None:
    data = {"by": by.email, "reasons": [reason.as_dict()]}
    add_entry(session, ticket, now, by.email, "note", title, reason.text, data)


def _link(session: Session, ticket_id: int, other_id: int, reason: Reason, now: datetime) -> None:
    row = {"ticket_id": ticket_id, "other_id": other_id, "kind": reason.code, "code": reason.code, "reason": reason.text}
    insert_ignore(session, TicketLink, [{**row, "created_at": now, "settled_at": now}])


def _settle_possible_duplicate(session: Session, one: int, other: int, by: Staff, now: datetime) -> int:
    """Settle the open links that call the two possible duplicates, in either direction, and return how many there were."""
    either = or_(
        (TicketLink.ticket_id == one) & (TicketLink.other_id == other),
        (TicketLink.ticket_id == other) & (TicketLink.other_id == one),
    )
    unsettled = update(TicketLink).where(either, TicketLink.kind == "possible_match", TicketLink.settled_at.is_(None))
    settled = unsettled.values(settled_at=now, settled_by=by.email).returning(TicketLink.id)
    return len(session.execute(settled).all())


def _build_submission(session: Session, entry: Activity, by: Staff, reason: str) -> Submission:
    email = entry.data.get("from")
    name = session.execute(select(Contact.name).where(Contact.email == email)).scalar() if email else None
    return Submission(
        source=TicketSource.EMAIL,
        received_at=entry.at,
        subject=entry.title,
        text=entry.body,
        item_id=entry.item_id,
        email=email,
        name=name or str(entry.data.get("name") or ""),
        files=_load_files(session, entry),
        reasons=(Reason("split", f"Split off {format_number(entry.ticket_id)} by {by.name}: {reason}"),),
        silence=SPLIT_OFF,
        verified=entry.data.get("verified"),
        owner_email=by.email,
    )


def _load_files(session: Session, entry: Activity) -> tuple[SubmittedFile, ...]:
    rows = list(session.execute(select(Attachment).where(Attachment.activity_id == entry.id).order_by(Attachment.id)).scalars())
    content = blobs.get_all(session, {row.sha256 for row in rows}) if rows else {}
    return tuple(
        SubmittedFile(row.name, row.type, row.sniffed, row.size, row.sha256, row.inline, content[row.sha256]) for row in rows
    )
