"""A small practice world for tests: staff, teams, companies, and submissions from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any

from sqlalchemy import event, func, insert, select
from sqlalchemy.orm import Session

from accounts.models import Absence, Company, CompanyDomain, Contact, Staff, Team, TeamMember
from accounts.names import fold_name
from core import blobs
from core.database.session import Database
from core.database.types import Base
from core.reasons import Reason
from core.settings import Settings
from outbox.append import read_fact
from outbox.facts import Fact
from outbox.models import OutboxFact
from tickets import intake, queries
from tickets.intake import Received
from tickets.models import Activity, Ticket
from tickets.submission import Submission, SubmittedFile, TicketSource

#: A Monday, 10:00 in New York.
NOW = datetime(2026, 11, 23, 15, tzinfo=UTC)
DANA_MAIL = Submission(
    TicketSource.EMAIL, NOW, "Claim denied", "Claim 4711 was denied.", email="dana@lakeside.example", name="Dana Reyes",
    reasons=(Reason("person_wrote", "A person wrote"),),
)  # fmt: skip


def dana_mail(**values: Any) -> Submission:
    """A mail from Dana of Lakeside, but for ``values``."""
    return replace(DANA_MAIL, **values)


def secure_message(**values: Any) -> Submission:
    """A secure message from the practice software, but for ``values``."""
    return dana_mail(source=TicketSource.SECURE_MESSAGE, **values)


class World:
    """A test database with one method for each kind of row and act."""

    def __init__(self, database: Database, settings: Settings | None = None) -> None:
        self.database = database
        self.settings = settings or Settings()

    def configure(self, **sections: Any) -> None:
        self.settings = Settings.model_validate(sections)

    def _add(self, table: type[Base], **values: Any) -> int:
        def unit(session: Session) -> int:
            row = table(**values)
            session.add(row)
            session.flush()
            return int(getattr(row, "id", 0) or 0)

        return self.database.transaction(unit)

    def staff(self, name: str, **values: Any) -> int:
        """Add a member of staff who works around the clock unless ``values`` say otherwise."""
        hours = {"weekdays": "0123456", "starts": time(0), "ends": time(23, 59, 59), "zone": "America/New_York"}
        values = {"email": f"{name.lower()}@billing.example", "name": name, "created_at": NOW, **hours, **values}
        return self._add(Staff, **values)

    def away(self, staff_id: int, start: datetime, end: datetime) -> None:
        self._add(Absence, staff_id=staff_id, starts_at=start, ends_at=end)

    def team(self, name: str, *members: int, default: bool = False, manager: int | None = None) -> int:
        team_id = self._add(Team, name=name, title=name.title(), is_default=default, manager_id=manager)
        for member in members:
            self._add(TeamMember, team_id=team_id, staff_id=member)
        return team_id

    def company(self, name: str, *domains: str, **values: Any) -> int:
        company_id = self._add(Company, name=name, folded=fold_name(name), created_at=NOW, **values)
        for domain in domains:
            self._add(CompanyDomain, domain=domain, company_id=company_id)
        return company_id

    def contact(self, email: str | None, company_id: int | None = None, **values: Any) -> int:
        return self._add(Contact, email=email, company_id=company_id, created_at=NOW, **values)

    def receive(self, *submissions: Submission, now: datetime = NOW) -> list[Received]:
        """Receive one batch in one transaction."""
        return self.database.transaction(lambda session: intake.receive(session, submissions, self.settings, now))

    def receive_one(self, submission: Submission | None = None, now: datetime = NOW, **values: Any) -> dict[str, Any]:
        """Receive one submission alone and return its ticket as shown."""
        (received,) = self.receive(replace(submission or DANA_MAIL, **values), now=now)
        return self.show(received.ticket_id)

    def show(self, ticket_id: int) -> dict[str, Any]:
        with self.database.read() as session:
            shown = queries.show(session, ticket_id)
        assert shown is not None
        return shown

    def listed(self, view: str) -> list[dict[str, Any]]:
        with self.database.read() as session:
            return queries.list_tickets(session, view, NOW)

    def statements(self, act: Callable[[], object]) -> int:
        """Return how many statements an act sends to the database."""
        sent: list[str] = []

        def listen(*arguments: Any) -> None:
            sent.append(str(arguments[2]))

        event.listen(self.database.engine, "before_cursor_execute", listen)
        act()
        event.remove(self.database.engine, "before_cursor_execute", listen)
        return len(sent)

    def ticket(self, ticket_id: int) -> Ticket:
        with self.database.read() as session:
            return session.execute(select(Ticket).where(Ticket.id == ticket_id)).scalar_one()

    def open_tickets(self, owner_id: int, count: int, stage: int = 4) -> None:
        """Insert open tickets of an owner."""
        row = {
            "name": "earlier", "pipeline": "", "type": "", "source": "email", "owner_id": owner_id, "stage": stage,
            "description": "", "missing": [], "opened_at": NOW, "created_at": NOW, "updated_at": NOW,
        }  # fmt: skip
        self.database.transaction(lambda session: session.execute(insert(Ticket), [row] * count) and None)

    def rows(self, table: type[Any], *order: Any) -> Sequence[Any]:
        with self.database.read() as session:
            return session.execute(select(table).order_by(*order)).scalars().all()

    def count(self, table: type[Base]) -> int:
        with self.database.read() as session:
            return session.execute(select(func.count()).select_from(table)).scalar_one()

    def facts(self) -> list[Fact]:
        return [read_fact(row.kind, row.payload) for row in self.rows(OutboxFact, OutboxFact.id)]

    def steps(self, ticket_id: int) -> list[str]:
        """Return the codes of the steps by which a ticket got its owner."""
        with self.database.read() as session:
            statement = select(Activity.data).where(Activity.ticket_id == ticket_id, Activity.kind == "assignment")
            return [step["code"] for step in session.execute(statement).scalar_one()["steps"]]


def file(name: str, content: bytes) -> SubmittedFile:
    return SubmittedFile(name, "application/pdf", "application/pdf", len(content), blobs.digest(content), False, content)


def hours(count: float) -> timedelta:
    return timedelta(hours=count)
