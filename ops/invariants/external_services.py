"""What others give us: lists of forms are read, webhooks miss nothing, client secrets are renewed in time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.findings import Finding
from core.settings import Settings
from core.settings.sections import OAuth
from ingest.ledger.models import FormCursor
from ingest.sources.backfill import longest_pause
from ingest.sources.formstack import REFUSALS

MANY_ERRORS = 5
#: A webhook that missed something is looked at within a day.
MISSED_SPAN = timedelta(days=1)
#: Days ahead at which the end of a client secret is said again.
STEPS = (30, 14, 7, 1)
SILENT_FORMS, MISSED_POSTS, ENDING_SECRETS = "silent_forms", "missed_posts", "ending_secrets"


class Cursor(Protocol):
    """What is asked of a form: when its list was last read, its errors in a row since, and what its webhook missed."""

    started_at: datetime
    checked_at: datetime | None
    errors: int
    error: str | None
    missed: int
    missed_at: datetime | None


@dataclass(frozen=True, slots=True)
class SecretEnd:
    """A client secret by where it stands in the settings, and the day it ends."""

    key: str
    day: date


def check(session: Session, settings: Settings, now: datetime) -> Iterator[Finding]:
    """Judgements about what is configured; what is not is left out."""
    paces = {name: longest_pause(form) for name, form in settings.forms.items() if form.backfill is not None}
    if paces:
        found = {row.form: row for row in session.execute(select(FormCursor)).scalars()}
        yield judge_forms(paces, found, now)
        yield judge_missed(paces, found, now)
    ends = list_ends(settings)
    if ends:
        yield judge_secrets(ends, now.astimezone(ZoneInfo(settings.calendar.zone)).date())


def judge_forms(paces: Mapping[str, timedelta], found: Mapping[str, Cursor], now: datetime) -> Finding:
    """Every form's list was read lately and can be read. Pure; ``paces`` says how long each is left alone at most."""
    wrong = {name: told for name, pace in paces.items() if (told := _silence(found.get(name), pace, now))}
    if not wrong:
        return Finding(SILENT_FORMS, 0, "every form's list of submissions is read")
    text = "; ".join(f"the list of form {name} {told}" for name, told in wrong.items())
    moments = [found[name].checked_at for name in wrong if name in found]
    hint = "see that `casemill run` or `casemill tick` runs; `casemill doctor` says what Formstack answers"
    return Finding(SILENT_FORMS, len(wrong), text, hint, min((one for one in moments if one), default=None))


def _silence(cursor: Cursor | None, pace: timedelta, now: datetime) -> str:
    if cursor is None:
        return "was never read"
    if cursor.errors and (cursor.errors >= MANY_ERRORS or cursor.error in REFUSALS.values()):
        return f"cannot be read ({(cursor.error or 'unknown').replace('_', ' ')})"
    last = cursor.checked_at
    if now - (last or cursor.started_at) > 2 * pace:
        return f"was last read at {last:%Y-%m-%d %H:%M} UTC" if last else "was never read to its end"
    return ""


def judge_missed(paces: Mapping[str, timedelta], found: Mapping[str, Cursor], now: datetime) -> Finding:
    """No webhook missed a submission in the last 24 hours; those that it did miss have been taken in. Pure."""
    moments = {name: at for name in paces if name in found and (at := found[name].missed_at) and now - at <= MISSED_SPAN}
    if not moments:
        return Finding(MISSED_POSTS, 0, "no webhook missed a submission in the last 24 hours")
    text = "; ".join(
        f"the webhook of form {name} missed submissions, which were taken in ({found[name].missed:,} so far, "
        f"the last at {at:%Y-%m-%d %H:%M} UTC)" for name, at in moments.items()
    )  # fmt: skip
    hint = "see in Formstack that the webhook is switched on and that its address reaches casemill"
    return Finding(MISSED_POSTS, len(moments), text, hint, min(moments.values()))


def list_oauth(settings: Settings) -> dict[str, OAuth]:
    """The sections that say where tokens come from, by where they stand in the settings."""
    known = {f"mailboxes.{name}.oauth": mailbox.oauth for name, mailbox in settings.mailboxes.items()}
    known["smtp.oauth"] = settings.smtp.oauth
    return {key: oauth for key, oauth in known.items() if oauth is not None}


def list_ends(settings: Settings) -> list[SecretEnd]:
    """The client secrets whose last day is in the settings."""
    return [
        SecretEnd(f"{key}.client_secret", oauth.client_secret_expires)
        for key, oauth in list_oauth(settings).items()
        if oauth.client_secret_expires is not None
    ]


def judge_secrets(ends: list[SecretEnd], today: date) -> Finding:
    """No client secret ends within 30 days. Pure; what comes nearer than a step of :data:`STEPS` is a step worse."""
    near = sorted((one for one in ends if (one.day - today).days <= STEPS[0]), key=lambda one: (one.day, one.key))
    if not near:
        return Finding(ENDING_SECRETS, 0, "no client secret ends within 30 days")
    text = "; ".join(f"{one.key} {_spell((one.day - today).days)}" for one in near)
    hint = "make a new secret at the provider, put it in its place, and set client_secret_expires to its last day"
    left = (near[0].day - today).days
    return Finding(ENDING_SECRETS, len(near), text, hint, level=sum(left <= step for step in STEPS))


def _spell(days: int) -> str:
    if days < 0:
        return f"ended {-days} days ago" if days < -1 else "ended yesterday"
    return {0: "ends today", 1: "ends tomorrow"}.get(days, f"ends in {days} days")
