"""A help desk on an empty database: staff, two practices, and all subscriptions of the running casemill."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from sqlalchemy import select
from sqlalchemy.orm import Session

from accounts.models import Staff
from bootstrap import subscriptions
from core.database.session import Database
from core.database.types import Base
from core.reasons import Reason
from notify import claims, rate_limits
from notify.models import Delivery
from outbox import relay
from outbox.append import append_facts
from outbox.facts import NoticeSettled
from surveys import invitations
from tests.tickets.world import NOW, World
from tickets import message_templates, timers

TEMPLATES = Path(__file__).parents[2] / "templates" / "email" / "billing_support"
DAY = timedelta(days=1)


class HelpDesk(World):
    """Ada consults for Lakeside, Max manages it; Ben and Cleo are the default team, whose manager is Mara."""

    now: datetime = NOW

    def add_people_and_companies(self) -> None:
        self.ids = {
            name: self.staff(name, role="manager" if name in ("Max", "Mara") else "representative")
            for name in ("Ada", "Ben", "Cleo", "Max", "Mara")
        }
        self.team("support", self.ids["Ben"], self.ids["Cleo"], default=True, manager=self.ids["Mara"])
        self.company("Lakeside", "lakeside.example", consultant_id=self.ids["Ada"], manager_id=self.ids["Max"])
        self.company("Hilltop", "hilltop.example")
        self.database.transaction(lambda session: message_templates.seed(session, TEMPLATES, NOW))

    def act(self, verb: Any, *given: Any, by: str = "Ada", ticket: int = 1) -> Any:
        """Run one act of a member of staff on one ticket, now."""
        return self.database.transaction(lambda session: verb(session, ticket, self.person(session, by), *given, self.now))

    def person(self, session: Session, name: str) -> Staff:
        return session.execute(select(Staff).where(Staff.name == name)).scalar_one()

    def relay(self) -> None:
        """Relay every fact to its subscribers."""
        readers = subscriptions(self.settings)
        with time_machine.travel(self.now, tick=False):
            while relay.relay_batch(self.database, readers):
                pass

    def advance_clock(self, later: timedelta = timedelta(0)) -> None:
        """Let time pass, then run the sweeps until nothing is due."""
        self.now += later
        with time_machine.travel(self.now, tick=False):
            while timers.sweep(self.database, self.settings.calendar):
                pass
            self.relay()
            while invitations.sweep(self.database, self.settings.surveys):
                self.relay()
        self.relay()

    def mails(self, mailing: str, ticket: int = 1) -> list[str]:
        """The recipients of this mailing for a ticket."""
        return [one.recipient for one in self.rows(Delivery, Delivery.id) if (one.mailing, one.ticket_id) == (mailing, ticket)]

    def settle_mail(self, mailing: str, outcome: str = "sent", ticket: int = 1) -> None:
        """Give the last mail of a mailing its outcome, and relay the fact to its subscribers."""
        self.relay()
        found = [one for one in self.rows(Delivery, Delivery.id) if (one.mailing, one.ticket_id) == (mailing, ticket)]
        reason = Reason("accepted" if outcome == "sent" else outcome, "What the server said")
        settled = [NoticeSettled(ticket, one.id, mailing, outcome, reason.code, reason.text, one.recipient) for one in found[-1:]]
        assert settled, f"there is no mail {mailing}"
        self.database.transaction(lambda session: append_facts(session, settled, self.now))
        self.relay()

    def admit_due_mails(self) -> None:
        """Claim due mails and apply the rate limits; nothing is sent."""
        with time_machine.travel(self.now, tick=False):
            claims.claim(
                self.database, "t", 50, lambda session, rows: rate_limits.apply_limits(session, "t", rows, self.settings)
            )
        self.relay()

    def outcome(self, mailing: str, ticket: int = 1) -> tuple[str, str | None]:
        """State and reason of the last mail of this mailing."""
        found = [one for one in self.rows(Delivery, Delivery.id) if (one.mailing, one.ticket_id) == (mailing, ticket)]
        return found[-1].state, found[-1].reason_code

    def stage(self, ticket: int = 1) -> int:
        return self.ticket(ticket).stage

    def tasks(self, ticket: int = 1) -> list[tuple[str, str | None]]:
        """Kind and assignee of the tasks that are open."""
        return [(one["kind"], one["assignee"]) for one in self.show(ticket)["tasks"] if one["done_at"] is None]

    def codes(self, ticket: int = 1, kind: str = "") -> list[str]:
        """The reasons on the timeline, of one kind of entry or all."""
        timeline = [one for one in self.show(ticket)["timeline"] if kind in ("", one["kind"])]
        return [reason["code"] for one in timeline for reason in one["reasons"]]


@pytest.fixture
def helpdesk(tmp_path: Path) -> Iterator[HelpDesk]:
    database = Database(f"sqlite:///{tmp_path / 'casemill.db'}")
    Base.metadata.create_all(database.engine)
    helpdesk = HelpDesk(database)
    helpdesk.add_people_and_companies()
    yield helpdesk
    database.close()
