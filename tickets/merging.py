"""Two tickets that are one matter, and one ticket that is two: merged and split by staff, recorded, nothing lost.

Entries of a timeline never move. A ticket that was merged is over, shows where it went, and its entries are read with those
of the ticket that took its place; whatever is answered to it later finds that one. A message that is split off stays where it
was and begins a ticket of its own.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import insert, literal, or_, select, update
from sqlalchemy.orm import Session

from accounts.models import Contact, Staff
from core import blobs
from core.database.bulk import insert_ignore
from core.errors import NotFoundError, RefusedError
from core.reasons import Reason
from core.settings import Settings
from tickets import lifecycle, permissions
from tickets.intake import receive
from tickets.models import Activity, Attachment, FollowUp, Ticket, TicketContact, TicketLink, TicketThread
from tickets.numbers import format_number
from tickets.permissions import Action
from tickets.submission import Submission, SubmittedFile, TicketSource
from tickets.timeline import require_text

SPLIT = Reason("split_off", "Staff split it off another ticket, whose customer has been told already")


def merge(session: Session, ticket_id: int, into_id: int, by: Staff, reason: str, now: datetime) -> Ticket:
    """``ticket_id`` becomes part of ``into_id``, which is answered. Raises :class:`NotFoundError`, :class:`RefusedError`."""
    permissions.require(by, Action.MERGE)
    why = require_text(reason)
    if ticket_id == into_id:
        raise RefusedError("same_ticket", "a ticket cannot be merged into itself")
    found = {ticket.id: ticket for ticket in _locked(session, ticket_id, into_id)}
    for wanted in (ticket_id, into_id):
        ticket = found.get(wanted)
        if ticket is None:
            raise NotFoundError(f"there is no ticket {format_number(wanted)}", hint="`casemill tickets` lists them")
        if ticket.merged_into is not None:
            raise RefusedError("merged", f"{format_number(wanted)} was merged into {format_number(ticket.merged_into)} already")
    source, target = found[ticket_id], found[into_id]
    lifecycle.close_as_merged(session, source, into_id, by, why, now)
    _carry_over(session, ticket_id, into_id)
    text = Reason("merged", f"{format_number(ticket_id)} was merged into this ticket: {why}")
    _note(session, target, f"Merged with {format_number(ticket_id)}", text, by, now)
    _link(session, ticket_id, into_id, text, now)
    _settle(session, ticket_id, into_id, by, now)
    session.flush()
    return target


def split(session: Session, ticket_id: int, entry_id: int, by: Staff, reason: str, settings: Settings, now: datetime) -> int:
    """The message ``entry_id`` of a ticket begins a ticket of its own, owned by ``by``; answers with its id.

    Raises :class:`NotFoundError`, :class:`RefusedError`. The customer gets no second notice of creation.
    """
    permissions.require(by, Action.MERGE)
    why = require_text(reason)
    entry = session.execute(select(Activity).where(Activity.id == entry_id)).scalar_one_or_none()
    found = _locked(session, ticket_id)
    if not found or entry is None or entry.ticket_id != ticket_id:
        raise NotFoundError(
            f"{format_number(ticket_id)} has no entry {entry_id}", hint="`casemill ticket show --json` numbers them"
        )
    if entry.kind != "message_in":
        raise RefusedError("no_message", f"entry {entry_id} is no message that came in, so there is nothing to split off")
    new_id = receive(session, [_submission(session, entry, by, why)], settings, now)[0].ticket_id
    text = Reason("split", f"The message “{entry.title}” was split off as {format_number(new_id)}: {why}")
    _note(session, found[0], f"Split off: {format_number(new_id)}", text, by, now)
    _link(session, new_id, ticket_id, Reason("split", f"Split off {format_number(ticket_id)}: {why}"), now)
    if entry.data.get("key"):
        session.execute(update(TicketThread).where(TicketThread.key == entry.data["key"]).values(ticket_id=new_id))
    session.flush()
    return new_id


def dismiss(session: Session, ticket_id: int, other_id: int, by: Staff, now: datetime) -> None:
    """The two tickets have nothing to do with each other: the possible match is settled. Raises :class:`NotFoundError`."""
    permissions.require(by, Action.MERGE)
    if not _settle(session, ticket_id, other_id, by, now):
        raise NotFoundError(f"{format_number(ticket_id)} has no open possible match with {format_number(other_id)}")
    for ticket in _locked(session, ticket_id):
        text = Reason("match_dismissed", f"It does not belong to {format_number(other_id)}")
        _note(session, ticket, "Possible match dismissed", text, by, now)


def _locked(session: Session, *ticket_ids: int) -> list[Ticket]:
    """In the order of their numbers, as everybody locks them."""
    statement = select(Ticket).where(Ticket.id.in_(ticket_ids)).order_by(Ticket.id).with_for_update(key_share=True)
    return list(session.execute(statement).scalars())


def _carry_over(session: Session, ticket_id: int, into_id: int) -> None:
    """People, open tasks, the keys of threads, and what had been merged before."""
    people = select(literal(into_id), TicketContact.contact_id, TicketContact.on_timeline)
    rows = [
        {"ticket_id": into_id, "contact_id": contact_id, "role": "participant", "on_timeline": shown}
        for _, contact_id, shown in session.execute(people.where(TicketContact.ticket_id == ticket_id))
    ]
    insert_ignore(session, TicketContact, sorted(rows, key=lambda row: int(row["contact_id"])))
    open_tasks = FollowUp.ticket_id == ticket_id, FollowUp.done_at.is_(None)
    session.execute(update(FollowUp).where(*open_tasks).values(ticket_id=into_id))
    session.execute(update(TicketThread).where(TicketThread.ticket_id == ticket_id).values(ticket_id=into_id))
    session.execute(update(Ticket).where(Ticket.merged_into == ticket_id).values(merged_into=into_id))


def _note(session: Session, ticket: Ticket, title: str, reason: Reason, by: Staff, now: datetime) -> None:
    data: dict[str, Any] = {"by": by.email, "reasons": [reason.as_dict()]}
    row = {"ticket_id": ticket.id, "at": now, "kind": "note", "actor": by.email, "title": title, "body": reason.text}
    session.execute(insert(Activity), [{**row, "data": data}])
    ticket.version += 1
    ticket.updated_at = now


def _link(session: Session, ticket_id: int, other_id: int, reason: Reason, now: datetime) -> None:
    row = {"ticket_id": ticket_id, "other_id": other_id, "kind": reason.code, "code": reason.code, "reason": reason.text}
    insert_ignore(session, TicketLink, [{**row, "created_at": now, "settled_at": now}])


def _settle(session: Session, one: int, other: int, by: Staff, now: datetime) -> int:
    """End the question whether the two are one, whichever of them asked it; how many questions that were."""
    either = or_(
        (TicketLink.ticket_id == one) & (TicketLink.other_id == other),
        (TicketLink.ticket_id == other) & (TicketLink.other_id == one),
    )
    asked = update(TicketLink).where(either, TicketLink.kind == "possible_match", TicketLink.settled_at.is_(None))
    settled = asked.values(settled_at=now, settled_by=by.email).returning(TicketLink.id)
    return len(session.execute(settled).all())


def _submission(session: Session, entry: Activity, by: Staff, reason: str) -> Submission:
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
        files=_files(session, entry),
        reasons=(Reason("split", f"Split off {format_number(entry.ticket_id)} by {by.name}: {reason}"),),
        silence=SPLIT,
        verified=entry.data.get("verified"),
        owner_email=by.email,
    )


def _files(session: Session, entry: Activity) -> tuple[SubmittedFile, ...]:
    rows = list(session.execute(select(Attachment).where(Attachment.activity_id == entry.id).order_by(Attachment.id)).scalars())
    content = blobs.get_all(session, {row.sha256 for row in rows}) if rows else {}
    return tuple(
        SubmittedFile(row.name, row.type, row.sniffed, row.size, row.sha256, row.inline, content[row.sha256]) for row in rows
    )
