"""A harness for deliveries on a database of its own: tests append facts, and real transports send the mail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from itertools import count
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine, event, insert, select, update
from sqlalchemy.orm import Session, undefer

import ingest.ledger.models  # noqa: F401 - all tables are to be known
from accounts.models import Contact, Staff, Team
from core import clock
from core.database.session import Database
from core.settings import Settings
from core.signing import signer_for
from notify import bounces, claims, mailings, staff_messages
from notify.claims import ClaimedDelivery
from notify.delivery import DeliveryWorker
from notify.models import Delivery
from notify.render import Renderer
from notify.transport import Transport
from notify.transport_factory import open_transport
from outbox import relay
from outbox.append import append_facts
from outbox.facts import (
    BounceReceived,
    Fact,
    NoticeSettled,
    ReportReceived,
    StaffMessageWritten,
    TaskRaised,
    TicketAssigned,
    TicketCreated,
)
from outbox.models import OutboxFact
from tickets.models import Activity, FollowUp, Ticket

TEMPLATES = Path(__file__).resolve().parent.parent.parent / "templates" / "email"
SUBSCRIPTIONS: relay.Subscriptions = {
    TicketCreated.kind: (mailings.on_ticket_created,),
    TicketAssigned.kind: (mailings.on_ticket_assigned,),
    NoticeSettled.kind: (mailings.on_notice_settled, staff_messages.on_notice_settled),
    StaffMessageWritten.kind: (staff_messages.on_staff_message_written,),
    TaskRaised.kind: (mailings.on_task_raised,),
    BounceReceived.kind: (bounces.on_bounce_received,),
    ReportReceived.kind: (bounces.on_report_received,),
}
KEY = "a-signing-key-of-the-tests"


class NotifyHarness:
    """Tickets, facts and deliveries. `open_worker` opens workers that are closed at the end."""

    def __init__(self, database_url: str, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self._numbers = count(1)
        self.settings = Settings.model_validate({"data_dir": folder, "database_url": database_url, "secret_key": KEY, **settings})
        self.database = Database(self.settings.database)
        self.renderer = Renderer(TEMPLATES, zone=ZoneInfo(self.settings.calendar.zone))
        self.signer = signer_for(self.settings)
        self._stack = ExitStack()
        self._stack.callback(self.database.close)

    def close(self) -> None:
        self._stack.close()

    def open_worker(self, target: str | Transport, **options: Any) -> DeliveryWorker:
        """Open a worker that sends to a URL or through a transport."""
        transport = open_transport(target, local_hostname="casemill.example") if isinstance(target, str) else target
        made = DeliveryWorker(
            self.database, self.settings, options.pop("renderer", self.renderer), self.signer, transport, **options
        )
        self._stack.callback(made.close)
        return made

    def add_staff(self, email: str, *, manages_default_team: bool = False) -> int:
        """Add a member of staff; returns the id."""
        with self.database.write() as session:
            staff = Staff(email=email, name=email.partition("@")[0], created_at=clock.now())
            session.add(staff)
            session.flush()
            if manages_default_team:
                session.add(Team(name="support", title="Support", is_default=True, manager_id=staff.id))
            return staff.id

    def add_ticket(self, email: str | None = "pat@clinic.example", *, answer: bool = True, owner_id: int | None = None,
               refusal: tuple[str, str] = ("", ""), name: str = "", source: str = "email") -> int:  # fmt: skip
        """Add a ticket with its fact; returns the id."""
        now = clock.now()
        with self.database.write() as session:
            requester_id = _contact(session, email)
            subject = name or f"Claim {next(self._numbers)}"
            ticket = Ticket(
                requester_id=requester_id, owner_id=owner_id, name=subject, pipeline="service", type="Billing Issue",
                source=source, description="", missing=[], opened_at=now, created_at=now, updated_at=now,
            )  # fmt: skip
            session.add(ticket)
            session.flush()
            append_facts(session, [TicketCreated(ticket.id, answer, *refusal)], now)
            return ticket.id

    def add_tickets(self, count: int) -> list[int]:
        """Add `count` tickets, each of another person at another clinic."""
        return [self.add_ticket(f"pat{number}@clinic{number}.example") for number in range(count)]

    def assign_ticket(self, ticket_id: int, staff_id: int) -> int:
        """Record an assignment with its fact; returns the activity's id."""
        now = clock.now()
        with self.database.write() as session:
            activity = Activity(ticket_id=ticket_id, at=now, kind="assignment", actor="system", title="Assigned", data={})
            session.add(activity)
            session.flush()
            append_facts(session, [TicketAssigned(ticket_id, staff_id, activity.id, "You have the fewest open tickets.")], now)
            return activity.id

    def append_facts(self, *told: Fact) -> None:
        """Append facts."""
        with self.database.write() as session:
            append_facts(session, told, clock.now())

    def relay_facts(self) -> None:
        """Relay all due facts."""
        while relay.relay_batch(self.database, SUBSCRIPTIONS):
            pass

    def claim(self, token: str, limit: int = 50) -> list[ClaimedDelivery]:
        """Claim due deliveries under a token, without limits."""
        return claims.claim(self.database, token, limit, lambda _session, batch: list(batch))[1]

    def run_until_idle(self, delivering: DeliveryWorker) -> None:
        """Relay, send and relay again until nothing is due."""
        self.relay_facts()
        while delivering.drain():
            pass
        self.relay_facts()

    def deliveries(self) -> list[Delivery]:
        with self.database.read() as session:
            return list(session.execute(select(Delivery).options(undefer(Delivery.frozen)).order_by(Delivery.id)).scalars())

    def delivery(self) -> Delivery:
        """Return the only delivery."""
        (one,) = self.deliveries()
        return one

    def delivery_states(self) -> list[str]:
        return [one.state for one in self.deliveries()]

    def update_deliveries(self, **values: Any) -> None:
        """Change every delivery, as time or a fault would."""
        with self.database.write() as session:
            session.execute(update(Delivery).values(**values))

    def claim_for_other_worker(self, delivery_id: int, token: str) -> None:
        """Set the claim of a delivery as if another worker had claimed it."""
        with self.database.write() as session:
            session.execute(update(Delivery).where(Delivery.id == delivery_id).values(claim=token))

    def expire_claims(self) -> None:
        """Expire all claims as if 20 seconds had passed without a renewal, and recover them."""
        with self.database.write() as session:
            claims.expire_all(session, self.database.now(session) - timedelta(seconds=1))
        claims.recover_expired(self.database)

    def ticket_stages(self) -> list[int]:
        with self.database.read() as session:
            return list(session.execute(select(Ticket.stage).order_by(Ticket.id)).scalars())

    def timeline(self, ticket_id: int) -> list[tuple[str, str, str]]:
        """Return kind, title and text of each activity."""
        with self.database.read() as session:
            rows = session.execute(select(Activity).where(Activity.ticket_id == ticket_id).order_by(Activity.id)).scalars()
            return [(row.kind, row.title, row.body) for row in rows]

    def tasks(self) -> list[FollowUp]:
        with self.database.read() as session:
            return list(session.execute(select(FollowUp).order_by(FollowUp.id)).scalars())

    def read_facts(self, kind: str) -> list[dict[str, Any]]:
        with self.database.read() as session:
            rows = session.execute(select(OutboxFact).where(OutboxFact.kind == kind).order_by(OutboxFact.id)).scalars()
            return [row.payload for row in rows]


def _contact(session: Session, email: str | None) -> int:
    known = session.execute(select(Contact.id).where(Contact.email == email)).scalar_one_or_none() if email else None
    if known is not None:
        return known
    row = insert(Contact).values(email=email, name="", created_at=clock.now()).returning(Contact.id)
    made: int = session.execute(row).scalar_one()
    return made


class Commits:
    """Counts the commits of an engine while it is entered, including those of single statements."""

    def __init__(self, engine: Engine) -> None:
        self.count = 0
        self._engine = engine

    def __enter__(self) -> Commits:
        event.listen(self._engine, "commit", self._add)
        event.listen(self._engine, "after_cursor_execute", self._add_alone)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(self._engine, "commit", self._add)
        event.remove(self._engine, "after_cursor_execute", self._add_alone)

    def _add(self, _connection: object) -> None:
        self.count += 1

    def _add_alone(self, connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT" and "UPDATE" in statement:
            self.count += 1


class HookedTransport:
    """A real transport with hooks that run before each message and before its final dot."""

    def __init__(self, transport: Transport, *, before: Callable[[], object] = lambda: None,
                 before_dot: Callable[[], object] = lambda: None) -> None:  # fmt: skip
        self._transport = transport
        self._before = before
        self._before_dot = before_dot
        self.recipients: list[str] = []

    def transmit(self, envelope_from: str, recipient: str, data: bytes, key: str, before_dot: Callable[[], None]) -> str:
        self.recipients.append(recipient)
        self._before()

        def both() -> None:
            before_dot()
            self._before_dot()

        return self._transport.transmit(envelope_from, recipient, data, key, both)

    def close(self) -> None:
        self._transport.close()


def stored(folder: Path) -> Sequence[bytes]:
    """Return the mails in a Maildir."""
    return [path.read_bytes() for path in sorted((folder / "new").iterdir())]


def mail(content: bytes) -> EmailMessage:
    """Parse a mail as a mail program does."""
    parsed = message_from_bytes(content, policy=policy.default)
    assert isinstance(parsed, EmailMessage)
    return parsed
