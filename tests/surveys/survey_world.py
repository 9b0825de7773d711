"""Completions, reopenings and their surveys, with a clock that the test sets."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial

import time_machine
from sqlalchemy import select
from sqlalchemy.orm import Session

from accounts.models import Contact, Staff
from core.database.session import Database
from core.database.types import Base
from core.settings import Settings
from outbox import relay
from outbox.append import append_facts
from outbox.facts import NoticeSettled, SurveyDue, TicketCompleted
from outbox.models import OutboxFact
from surveys import invitations
from surveys.models import Survey
from tests.tickets.world import NOW, World, dana_mail
from tickets import lifecycle
from tickets.stages import COMPLETED

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
VERBS = (lifecycle.mark_follow_up_sent, lifecycle.mark_resolved, lifecycle.mark_recap_sent)


class SurveyWorld(World):
    """A world with Ada's tickets for several people, and the subscribers and the sweep of surveys."""

    def __init__(self, database: Database, **surveys: object) -> None:
        super().__init__(database, Settings.model_validate({"surveys": surveys}))
        self.now = NOW

    def furnish(self) -> None:
        """Add tickets 1 and 2 of Dana and 3 of Kim, both of Lakeside, and 4 of Pat, who has no company."""
        self.company("Lakeside", "lakeside.example", consultant_id=self.staff("Ada"))
        self.staff("Max", role="manager")
        senders = ("dana@lakeside.example", "dana@lakeside.example", "kim@lakeside.example", "pat@elsewhere.example")
        for sender in senders:
            self.receive(dana_mail(email=sender))

    def complete(self, ticket_id: int = 1) -> None:
        def unit(session: Session) -> None:
            for verb in VERBS:
                ticket = verb(session, ticket_id, self._person(session, "Ada"), self.now)
                # A ticket that was forced out of 6-Completed has its milestones: the first act completes it again.
                if ticket.stage == COMPLETED:
                    break

        self.database.transaction(unit)

    def reopen(self, ticket_id: int = 1) -> None:
        def unit(session: Session) -> None:
            lifecycle.reopen(session, ticket_id, self._person(session, "Ada"), "They wrote again", self.settings, self.now)

        self.database.transaction(unit)

    def force(self, stage: int, ticket_id: int = 1) -> None:
        def unit(session: Session) -> None:
            max_ = self._person(session, "Max")
            lifecycle.force_stage(session, ticket_id, stage, max_, "A mistake", self.settings, self.now)

        self.database.transaction(unit)

    def relay(self) -> None:
        """Relay all due facts."""
        completed = partial(invitations.on_ticket_completed, self.settings.surveys)
        readers = {TicketCompleted.kind: (completed,), NoticeSettled.kind: (invitations.on_notice_settled,)}
        with time_machine.travel(self.now, tick=False):
            while relay.relay_batch(self.database, readers):
                pass

    def sweep(self) -> list[SurveyDue]:
        """Run the sweep now; returns the facts of surveys that are due."""
        self.relay()
        before = self.count(OutboxFact)
        with time_machine.travel(self.now, tick=False):
            while invitations.sweep(self.database, self.settings.surveys):
                pass
        told = self.facts()[before:]
        self.relay()
        return [fact for fact in told if isinstance(fact, SurveyDue)]

    def settle(self, ticket_id: int = 1, outcome: str = "sent", code: str = "accepted") -> None:
        """Give the mail of a ticket's survey its outcome."""
        settled = NoticeSettled(ticket_id, 1, "survey_invitation", outcome, code, "A reason", "dana@lakeside.example")
        self.database.transaction(lambda session: append_facts(session, [settled], self.now))
        self.relay()

    def survey(self, ticket_id: int = 1) -> Survey:
        """Return the latest survey of a ticket."""
        return [row for row in self.rows(Survey, Survey.opening) if row.ticket_id == ticket_id][-1]

    def outcome(self, ticket_id: int = 1) -> tuple[str, str | None]:
        survey = self.survey(ticket_id)
        return survey.state, survey.reason_code

    def slot(self, ticket_id: int = 1) -> datetime | None:
        """Return when the requester of a ticket was last surveyed, as the throttle sees it."""
        with self.database.read() as session:
            requester = self.ticket(ticket_id).requester_id
            return session.execute(select(Contact.last_surveyed_at).where(Contact.id == requester)).scalar_one()

    def entries(self, ticket_id: int = 1) -> list[tuple[str, list[str]]]:
        """Return title and reason codes of the survey entries on the timeline."""
        timeline = self.show(ticket_id)["timeline"]
        return [(one["title"], [r["code"] for r in one["reasons"]]) for one in timeline if one["kind"] == "survey"]

    def invite(self, ticket_id: int = 1, outcome: str = "sent") -> Survey:
        """Complete a ticket, wait for the delay, and send its survey."""
        self.complete(ticket_id)
        self.relay()
        self.now += timedelta(hours=self.settings.surveys.delay_hours)
        self.sweep()
        self.settle(ticket_id, outcome)
        return self.survey(ticket_id)

    def _person(self, session: Session, name: str) -> Staff:
        return session.execute(select(Staff).where(Staff.name == name)).scalar_one()


def make_survey_world(url: str, **surveys: object) -> SurveyWorld:
    """Return a sample world on an empty database."""
    database = Database(url)
    Base.metadata.create_all(database.engine)
    survey_world = SurveyWorld(database, **surveys)
    survey_world.furnish()
    return survey_world
