"""Surveys in the ageing test: reserved, sent or skipped, answered; and their invariants."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise

import time_machine
from sqlalchemy import select
from sqlalchemy.orm import Session

from accounts.models import Contact
from core.errors import NotFoundError, RefusedError
from outbox import relay
from outbox.append import append_facts
from outbox.facts import NoticeSettled, TicketCompleted
from surveys import answers, invitations
from surveys.models import Survey
from tests.tickets.world import World
from tickets.models import Activity

APART = timedelta(days=30)


class SurveyPost:
    """What becomes of surveys, by a seeded chance: the mail of each has one of the four outcomes, some are answered."""

    def __init__(self, world: World, chance: random.Random, done: Counter[str]) -> None:
        self._world, self._chance, self._done = world, chance, done
        completed = partial(invitations.on_ticket_completed, world.settings.surveys)
        self._readers: relay.Subscriptions = {
            TicketCompleted.kind: (completed,), NoticeSettled.kind: (invitations.on_notice_settled,),
        }  # fmt: skip

    def go(self, now: datetime) -> None:
        """A step of time: completions are heard of, surveys become due, mails get their outcomes, customers answer."""
        with time_machine.travel(now, tick=False):
            self._relay()
            while invitations.sweep(self._world.database, self._world.settings.surveys):
                pass
            self._world.database.transaction(lambda session: self._settle(session, now))
            self._relay()
        self._world.database.transaction(lambda session: self._answer(session, now))

    def _relay(self) -> None:
        while relay.relay_batch(self._world.database, self._readers):
            pass

    def _settle(self, session: Session, now: datetime) -> None:
        for survey in session.execute(select(Survey).where(Survey.state == "invited").order_by(Survey.id)).scalars():
            outcome = self._chance.choice(["sent", "sent", "sent", "skipped", "failed", "ambiguous", ""])
            if outcome:  # else it is still on its way
                self._done[f"survey {outcome}"] += 1
                settled = NoticeSettled(
                    survey.ticket_id, survey.id, invitations.INVITATION, outcome, "x", "X", "customer@lakeside.example"
                )
                append_facts(session, [settled], now)

    def _answer(self, session: Session, now: datetime) -> None:
        ids = session.execute(select(Survey.id).where(Survey.sent_at.is_not(None)).order_by(Survey.id.desc()).limit(50)).scalars()
        for survey_id in ids:
            if self._chance.random() < 0.05:
                try:
                    score = self._chance.randint(1, 5)
                    answers.save_answer(session, survey_id, score, "", self._world.settings.surveys, now)
                    self._done["survey answered"] += 1
                except (RefusedError, NotFoundError) as error:
                    self._done[f"answer refused: {getattr(error, 'code', 'gone')}"] += 1


def check_surveys(world: World) -> None:
    """One in 30 days a customer, one an opening, none without a completion, and the owner as of then; skips have a reason."""
    surveys = world.rows(Survey, Survey.id)
    assert len({(one.ticket_id, one.opening) for one in surveys}) == len(surveys)
    by_customer: dict[int, list[datetime]] = defaultdict(list)
    for one in surveys:
        if one.sent_at is not None:
            by_customer[one.contact_id].append(one.sent_at)
        assert one.sent_at is None or one.invited_at is not None
        assert one.score is None or one.sent_at is not None
        assert one.state not in ("skipped", "failed") or (one.reason_code and one.slot is None)
    for moments in by_customer.values():
        moments.sort()
        assert all(later - earlier >= APART for earlier, later in pairwise(moments))
    assert sum(map(len, by_customer.values())) > 10
    _check_slots(world, surveys)
    _check_completions(world, surveys)


def _check_slots(world: World, surveys: object) -> None:
    """A customer's slot is the time of their last or next survey, and no slot is held without one."""
    held: dict[int, datetime] = {}
    for one in surveys:  # type: ignore[attr-defined]
        moment = one.slot_at if one.slot is not None else one.sent_at
        if moment is not None:
            held[one.contact_id] = max(moment, held.get(one.contact_id, moment))
    for contact in world.rows(Contact):
        assert contact.last_surveyed_at == held.get(contact.id), contact.id


def _check_completions(world: World, surveys: object) -> None:
    """The first completion of each opening, with who owned the ticket then, by the timeline alone."""
    owner: dict[int, int | None] = {}
    opening: dict[int, int] = defaultdict(lambda: 1)
    first: dict[tuple[int, int], int | None] = {}
    for entry in world.rows(Activity, Activity.id):
        if entry.kind == "assignment":
            owner[entry.ticket_id] = entry.data["owner_id"]
        elif entry.kind == "stage":
            if entry.data["reasons"][0]["code"] == "reopened":
                opening[entry.ticket_id] += 1
            if entry.data["to"] == 6:
                first.setdefault((entry.ticket_id, opening[entry.ticket_id]), owner[entry.ticket_id])
    assert {(one.ticket_id, one.opening): one.owner_id for one in surveys} == first  # type: ignore[attr-defined]
