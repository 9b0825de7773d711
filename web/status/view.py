"""Arranges the figures of the status page in the words and shapes that its template shows. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.findings import Finding
from core.settings import Settings
from ingest.ledger.types import Source
from web.health import MAX_SILENCE, OK, check_mailbox
from web.status.queries import MailboxHealth, RecentTicket, SourceCount, StatusFigures

#: The label of each disposition, in the order of the bars: tickets first, what needs a person last.
DISPOSITION_LABELS = {
    "ticket": "new ticket",
    "appended": "added to a ticket",
    "expanded": "workbook split into rows",
    "duplicate": "duplicate",
    "own": "our own mail",
    "automatic": "automatic reply",
    "list": "mailing list",
    "bounce": "bounce",
    "rejected": "rejected",
    "quarantined": "quarantined",
    "failed": "failed, will be retried",
    "waiting": "waiting",
}
SOURCE_LABELS = {
    "email": "Email",
    "formstack": "Form",
    "secure_message": "Secure message",
    "portal": "Portal",
    "phone": "Phone",
}
#: The label of each delivery state, in the order of a delivery's life; two states share the label "being sent".
NOTICE_LABELS = {
    "pending": "waiting",
    "claimed": "being sent",
    "intent": "being sent",
    "sent": "sent",
    "skipped": "skipped",
    "failed": "failed",
    "ambiguous": "unclear whether sent",
}
_NOTICES_NEEDING_ATTENTION = {"failed", "ambiguous"}


@dataclass(frozen=True, slots=True)
class BarSegment:
    """A part of a bar; ``start`` and ``width`` are in percent of the longest bar."""

    word: str
    label: str
    count: int
    start: float
    width: float


@dataclass(frozen=True, slots=True)
class SourceBar:
    """The bar of one source: its items of the last 24 hours by disposition."""

    kind: str
    name: str
    total: int
    segments: list[BarSegment]


@dataclass(frozen=True, slots=True)
class HourBar:
    """The bar of one hour; ``height`` is in percent of the busiest hour."""

    label: str
    count: int
    x: float
    height: float


@dataclass(frozen=True, slots=True)
class LabelledCount:
    """A count with its label; ``word`` is the state that names its colour."""

    word: str
    label: str
    count: int
    needs_attention: bool = False


@dataclass(frozen=True, slots=True)
class RecentTicketRow:
    """A row of the table of recent tickets."""

    ticket: RecentTicket
    source: str
    age: str


@dataclass(frozen=True, slots=True)
class MailboxRow:
    """A mailbox; ``problem`` is empty when there is none."""

    name: str
    checked: str
    problem: str


@dataclass(frozen=True, slots=True)
class FailedCheck:
    """An invariant that is violated; ``since`` is for how long, empty when that is unknown or under a minute."""

    text: str
    hint: str
    since: str


@dataclass(frozen=True, slots=True)
class StatusView:
    """All values of the template ``status.html``; ``checks`` is how many invariants were checked."""

    at: datetime
    checks: int
    failed_checks: list[FailedCheck]
    arrived: int
    hours: list[HourBar]
    sources: list[SourceBar]
    legend: list[LabelledCount]
    notices: list[LabelledCount]
    sent: int
    tickets: list[RecentTicketRow]
    mailboxes: list[MailboxRow]
    is_empty: bool
    figures: StatusFigures


def arrange_page(figures: StatusFigures, settings: Settings, now: datetime, findings: Sequence[Finding] = ()) -> StatusView:
    """Return the view of ``figures`` and ``findings`` as of ``now``."""
    return StatusView(
        at=now,
        checks=len(findings),
        failed_checks=[arrange_failed_check(finding, now) for finding in findings if not finding.is_ok],
        arrived=sum(figures.hours),
        hours=arrange_hours(figures.hours, now),
        sources=arrange_sources(figures.by_source, settings),
        legend=count_dispositions(figures.by_source),
        notices=count_notices(figures.notices),
        sent=figures.notices.get("sent", 0),
        tickets=[arrange_ticket(ticket, now) for ticket in figures.tickets],
        mailboxes=arrange_mailboxes(figures.mailboxes, settings, now),
        is_empty=not figures.has_items and not figures.tickets,
        figures=figures,
    )


def arrange_ticket(ticket: RecentTicket, now: datetime) -> RecentTicketRow:
    """Return a row of the table of recent tickets."""
    return RecentTicketRow(ticket, SOURCE_LABELS.get(ticket.source, ticket.source), format_age(now - ticket.created_at))


def arrange_failed_check(finding: Finding, now: datetime) -> FailedCheck:
    """Return a violated invariant with its text as a sentence."""
    age = format_age(now - finding.oldest) if finding.oldest else ""
    return FailedCheck(f"{finding.text[:1].upper()}{finding.text[1:]}", finding.hint, "" if age == "just now" else age)


def format_age(age: timedelta) -> str:
    """Return ``just now``, ``4 min``, ``3 h`` or ``2 d``."""
    minutes = int(age.total_seconds() // 60)
    if minutes < 1:
        return "just now"
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // (24 * 60)} d"


def describe_source(source: str, settings: Settings) -> tuple[str, str]:
    """Return kind and name of a source of the ledger: ``form:5512345`` is ("Form", its configured name)."""
    origin = Source.parse(source)
    kind, name = origin.kind, origin.name
    if kind == "form":
        form = settings.forms.get(name)
        return "Form", form.name if form else name
    if kind == "workbook":
        return "Workbook rows", ""
    return {"mailbox": "Mailbox", "folder": "Folder", "upload": "Files"}.get(kind, kind.capitalize()), name


def arrange_sources(by_source: Iterable[SourceCount], settings: Settings) -> list[SourceBar]:
    """Return one bar for each source, the busiest first. All bars share one scale."""
    counts: dict[tuple[str, str], dict[str, int]] = {}
    for one in by_source:
        by_word = counts.setdefault(describe_source(one.source, settings), {})
        word = one.disposition or "waiting"
        by_word[word] = by_word.get(word, 0) + one.count
    longest = max((sum(by_word.values()) for by_word in counts.values()), default=1)
    bars = [
        SourceBar(kind, name, sum(by_word.values()), _build_segments(by_word, 100 / longest))
        for (kind, name), by_word in counts.items()
    ]
    return sorted(bars, key=lambda bar: (-bar.total, bar.kind, bar.name))


def _build_segments(by_word: Mapping[str, int], scale: float) -> list[BarSegment]:
    segments = []
    start = 0.0
    for word in sorted(by_word, key=_disposition_rank):
        width = by_word[word] * scale
        segments.append(BarSegment(word, DISPOSITION_LABELS.get(word, word), by_word[word], round(start, 3), round(width, 3)))
        start += width
    return segments


def _disposition_rank(word: str) -> int:
    return list(DISPOSITION_LABELS).index(word) if word in DISPOSITION_LABELS else len(DISPOSITION_LABELS)


def count_dispositions(by_source: Iterable[SourceCount]) -> list[LabelledCount]:
    """Return the items of the last 24 hours by disposition, over all sources."""
    counts: dict[str, int] = {}
    for one in by_source:
        word = one.disposition or "waiting"
        counts[word] = counts.get(word, 0) + one.count
    return [
        LabelledCount(word, DISPOSITION_LABELS.get(word, word), counts[word]) for word in sorted(counts, key=_disposition_rank)
    ]


def arrange_hours(hours: list[int], now: datetime) -> list[HourBar]:
    """Return the bars of the last 24 hours, the oldest first. An hour with any arrival is at least 4 % high, to be visible."""
    busiest = max(hours, default=0) or 1
    step = 100 / max(len(hours), 1)
    return [
        HourBar(
            (now - timedelta(hours=len(hours) - 1 - position)).strftime("until %H:%M"),
            count,
            round(position * step, 3),
            round(max(count / busiest * 100, 4.0), 2) if count else 0.0,
        )
        for position, count in enumerate(hours)
    ]


def count_notices(states: Mapping[str, int]) -> list[LabelledCount]:
    """Return the notices of the last 24 hours by label."""
    counts: dict[str, LabelledCount] = {}
    for state in sorted(states, key=lambda state: list(NOTICE_LABELS).index(state) if state in NOTICE_LABELS else 99):
        label = NOTICE_LABELS.get(state, state)
        before = counts[label].count if label in counts else 0
        counts[label] = LabelledCount(state, label, before + states[state], state in _NOTICES_NEEDING_ATTENTION)
    return list(counts.values())


def arrange_mailboxes(found: list[MailboxHealth], settings: Settings, now: datetime) -> list[MailboxRow]:
    """Return each configured mailbox with when it was last read and its problem, if any."""
    by_name = {health.name: health for health in found}
    return [_arrange_mailbox(name, by_name.get(name), now) for name in settings.mailboxes]


def _arrange_mailbox(name: str, health: MailboxHealth | None, now: datetime) -> MailboxRow:
    if health is None or health.checked_at is None:
        return MailboxRow(name, "never", "Not read yet: is casemill watch running?")
    age = format_age(now - health.checked_at)
    checked = age if age == "just now" else f"{age} ago"
    if check_mailbox(health, now) != OK:
        return MailboxRow(name, checked, f"{health.errors} errors in a row: run casemill doctor.")
    is_silent = now - health.checked_at > MAX_SILENCE
    return MailboxRow(name, checked, "Not read for over 5 minutes: is casemill watch running?" if is_silent else "")
