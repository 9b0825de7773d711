"""Invariants of external services: form lists are read, webhooks miss nothing, client secrets are renewed in time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.findings import Finding, ok, problem
from core.settings import Settings
from core.settings.sections import OAuth
from ingest.ledger.models import FormCursor
from ingest.sources.backfill import max_pause
from ingest.sources.formstack import PERMANENT_ERRORS

MAX_FORM_ERRORS = 5
#: An operator sees within a day that a webhook missed a submission.
MISSED_WINDOW = timedelta(days=1)
#: Days before the expiry of a client secret at which the alert is repeated.
WARNING_DAYS = (30, 14, 7, 1)
SILENT_FORMS, MISSED_POSTS, ENDING_SECRETS = "silent_forms", "missed_posts", "ending_secrets"


class FormStatus(Protocol):
    """When a form's list was last read, its errors in a row since, and how many submissions its webhook missed."""

    started_at: datetime
    checked_at: datetime | None
    errors: int
    error: str | None
    missed: int
    missed_at: datetime | None


@dataclass(frozen=True, slots=True)
class SecretExpiry:
    """The settings key of a client secret, and the day it expires."""

    key: str
    day: date


def check_external_services(session: Session, settings: Settings, now: datetime) -> Iterator[Finding]:
    """Check the external services that are configured; the others give no finding."""
    max_pauses = {name: max_pause(form) for name, form in settings.forms.items() if form.backfill is not None}
    if max_pauses:
        rows = {row.form: row for row in session.execute(select(FormCursor)).scalars()}
        yield check_forms(max_pauses, rows, now)
        yield check_missed_submissions(max_pauses, rows, now)
    expiries = list_secret_expiries(settings)
    if expiries:
        yield check_client_secrets(expiries, now.astimezone(ZoneInfo(settings.calendar.zone)).date())


def check_forms(max_pauses: Mapping[str, timedelta], rows: Mapping[str, FormStatus], now: datetime) -> Finding:
    """Check that every form's list was read lately and can be read. Pure.

    ``max_pauses`` holds, for each form, the longest pause between two reads.
    """
    problems = {name: text for name, pause in max_pauses.items() if (text := _describe_form_problem(rows.get(name), pause, now))}
    if not problems:
        return ok(SILENT_FORMS, "every form's list of submissions is read")
    text = "; ".join(f"the list of form {name} {text}" for name, text in problems.items())
    moments = [rows[name].checked_at for name in problems if name in rows]
    hint = "check that `casemill run` or `casemill tick` is running; `casemill doctor` shows what Formstack answers"
    oldest = min((moment for moment in moments if moment), default=None)
    return problem(SILENT_FORMS, text, hint, count=len(problems), oldest=oldest)


def _describe_form_problem(row: FormStatus | None, max_pause: timedelta, now: datetime) -> str:
    if row is None:
        return "was never read"
    if row.errors and (row.errors >= MAX_FORM_ERRORS or row.error in PERMANENT_ERRORS.values()):
        return f"cannot be read ({(row.error or 'unknown').replace('_', ' ')})"
    last = row.checked_at
    if now - (last or row.started_at) > 2 * max_pause:
        return f"was last read at {last:%Y-%m-%d %H:%M} UTC" if last else "was never read to its end"
    return ""


def check_missed_submissions(forms: Iterable[str], rows: Mapping[str, FormStatus], now: datetime) -> Finding:
    """Check that no webhook missed a submission in the last 24 hours. Backfill has accepted those that were missed. Pure."""
    moments = {name: at for name in forms if name in rows and (at := rows[name].missed_at) and now - at <= MISSED_WINDOW}
    if not moments:
        return ok(MISSED_POSTS, "no webhook missed a submission in the last 24 hours")
    text = "; ".join(
        f"the webhook of form {name} missed submissions, which backfill has accepted ({rows[name].missed:,} so far, "
        f"the last at {at:%Y-%m-%d %H:%M} UTC)" for name, at in moments.items()
    )  # fmt: skip
    hint = "check in Formstack that the webhook is switched on and that its address reaches casemill"
    return problem(MISSED_POSTS, text, hint, count=len(moments), oldest=min(moments.values()))


def list_oauth_sections(settings: Settings) -> dict[str, OAuth]:
    """Return the OAuth sections of the settings by their key."""
    sections = {f"mailboxes.{name}.oauth": mailbox.oauth for name, mailbox in settings.mailboxes.items()}
    sections["smtp.oauth"] = settings.smtp.oauth
    return {key: oauth for key, oauth in sections.items() if oauth is not None}


def list_secret_expiries(settings: Settings) -> list[SecretExpiry]:
    """Return the client secrets whose last day is in the settings."""
    return [
        SecretExpiry(f"{key}.client_secret", oauth.client_secret_expires)
        for key, oauth in list_oauth_sections(settings).items()
        if oauth.client_secret_expires is not None
    ]


def check_client_secrets(expiries: Iterable[SecretExpiry], today: date) -> Finding:
    """Check that no client secret expires within 30 days. Pure. The level rises at each of :data:`WARNING_DAYS`."""
    near = sorted((one for one in expiries if (one.day - today).days <= WARNING_DAYS[0]), key=lambda one: (one.day, one.key))
    if not near:
        return ok(ENDING_SECRETS, "no client secret expires within 30 days")
    text = "; ".join(f"{one.key} {_describe_expiry((one.day - today).days)}" for one in near)
    hint = "create a new secret at the provider, replace the old one, and set client_secret_expires to its last day"
    days_left = (near[0].day - today).days
    return problem(ENDING_SECRETS, text, hint, count=len(near), level=sum(days_left <= days for days in WARNING_DAYS))


def _describe_expiry(days: int) -> str:
    if days < 0:
        return f"expired {-days} days ago" if days < -1 else "expired yesterday"
    return {0: "expires today", 1: "expires tomorrow"}.get(days, f"expires in {days} days")
