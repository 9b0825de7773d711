"""The front page's figures in the words and shapes people read. Pure: settings, figures and a moment come in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.findings import Finding
from core.settings import Settings
from web.health import OK, SILENT_AFTER, judge_mailbox
from web.status.queries import Inflow, MailboxHealth, Overview, TicketLine

#: Every disposition in the order in which it is shown: tickets first, what needs a person last.
WORDS = {
    "ticket": "new ticket",
    "appended": "added to a ticket",
    "expanded": "workbook opened",
    "duplicate": "duplicate",
    "own": "our own mail",
    "automatic": "automatic",
    "list": "mailing list",
    "bounce": "bounce",
    "rejected": "rejected",
    "quarantined": "quarantined",
    "failed": "to be tried again",
    "waiting": "waiting",
}
TICKET_SOURCES = {
    "email": "Email",
    "formstack": "Form",
    "secure_message": "Secure message",
    "portal": "Portal",
    "phone": "Phone",
}
#: Notices in the order of their life; ``claimed`` and ``intent`` are both "on its way" to people.
NOTICE_WORDS = {
    "pending": "waiting",
    "claimed": "on its way",
    "intent": "on its way",
    "sent": "sent",
    "skipped": "not sent, with a reason",
    "failed": "failed",
    "ambiguous": "unclear whether sent",
}
_BAD_NOTICES = {"failed", "ambiguous"}


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a bar: from ``start``, ``width`` wide, in percent of the widest bar."""

    word: str
    label: str
    count: int
    start: float
    width: float


@dataclass(frozen=True, slots=True)
class SourceBar:
    """One source with its items of the last 24 hours."""

    kind: str
    name: str
    total: int
    segments: list[Segment]


@dataclass(frozen=True, slots=True)
class HourBar:
    """One hour: ``height`` in percent of the busiest hour."""

    label: str
    count: int
    x: float
    height: float


@dataclass(frozen=True, slots=True)
class Count:
    """A word with how often; ``bad`` when a person should look."""

    word: str
    label: str
    count: int
    bad: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A ticket as listed."""

    ticket: TicketLine
    source: str
    age: str


@dataclass(frozen=True, slots=True)
class Box:
    """A mailbox: ``problem`` is empty when all is well."""

    name: str
    checked: str
    problem: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """An invariant that does not hold: ``since`` is how long already, empty when nobody knows."""

    text: str
    hint: str
    since: str


@dataclass(frozen=True, slots=True)
class Page:
    """All that the template shows. ``judged`` is how many invariants were looked at; ``troubles`` those that do not hold."""

    at: datetime
    judged: int
    troubles: list[Trouble]
    arrived: int
    hours: list[HourBar]
    sources: list[SourceBar]
    legend: list[Count]
    notices: list[Count]
    sent: int
    lines: list[Line]
    boxes: list[Box]
    empty: bool
    figures: Overview


def arrange(figures: Overview, settings: Settings, now: datetime, judgements: Sequence[Finding] = ()) -> Page:
    """The page as of ``now``."""
    notices = count_notices(figures.notices)
    return Page(
        at=now,
        judged=len(judgements),
        troubles=[arrange_trouble(one, now) for one in judgements if one.is_violated],
        arrived=sum(figures.hours),
        hours=arrange_hours(figures.hours, now),
        sources=arrange_sources(figures.inflow, settings),
        legend=count_dispositions(figures.inflow),
        notices=notices,
        sent=figures.notices.get("sent", 0),
        lines=[Line(one, TICKET_SOURCES.get(one.source, one.source), spell_age(now - one.created_at)) for one in figures.tickets],
        boxes=arrange_boxes(figures.mailboxes, settings, now),
        empty=not figures.items_ever and not figures.tickets,
        figures=figures,
    )


def arrange_trouble(one: Finding, now: datetime) -> Trouble:
    """A broken invariant as people read it."""
    age = spell_age(now - one.oldest) if one.oldest else ""
    return Trouble(f"{one.text[:1].upper()}{one.text[1:]}", one.hint, "" if age == "just now" else age)


def spell_age(age: timedelta) -> str:
    """``just now``, ``4 min``, ``3 h`` or ``2 d``."""
    minutes = int(age.total_seconds() // 60)
    if minutes < 1:
        return "just now"
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // (24 * 60)} d"


def name_source(source: str, settings: Settings) -> tuple[str, str]:
    """Kind and name of a ledger source: ``form:5512345`` is ("Form", its configured name)."""
    prefix, _, name = source.partition(":")
    if prefix == "form":
        form = settings.forms.get(name)
        return "Form", form.name if form else name
    if prefix == "workbook":
        return "Workbook rows", ""
    return {"mailbox": "Mailbox", "folder": "Folder", "upload": "Files"}.get(prefix, prefix.capitalize()), name


def arrange_sources(inflow: Iterable[Inflow], settings: Settings) -> list[SourceBar]:
    """One bar a source, the busiest first; all bars share one scale."""
    counts: dict[tuple[str, str], dict[str, int]] = {}
    for one in inflow:
        words = counts.setdefault(name_source(one.source, settings), {})
        word = one.disposition or "waiting"
        words[word] = words.get(word, 0) + one.count
    widest = max((sum(words.values()) for words in counts.values()), default=1)
    bars = [SourceBar(kind, name, sum(words.values()), _cut(words, 100 / widest)) for (kind, name), words in counts.items()]
    return sorted(bars, key=lambda bar: (-bar.total, bar.kind, bar.name))


def _cut(words: Mapping[str, int], scale: float) -> list[Segment]:
    segments = []
    start = 0.0
    for word in sorted(words, key=_rank):
        width = words[word] * scale
        segments.append(Segment(word, WORDS.get(word, word), words[word], round(start, 3), round(width, 3)))
        start += width
    return segments


def _rank(word: str) -> int:
    return list(WORDS).index(word) if word in WORDS else len(WORDS)


def count_dispositions(inflow: Iterable[Inflow]) -> list[Count]:
    """What became of all items of the last 24 hours."""
    counts: dict[str, int] = {}
    for one in inflow:
        word = one.disposition or "waiting"
        counts[word] = counts.get(word, 0) + one.count
    return [Count(word, WORDS.get(word, word), counts[word]) for word in sorted(counts, key=_rank)]


def arrange_hours(hours: list[int], now: datetime) -> list[HourBar]:
    """The bars of the last 24 hours, the oldest first; an hour with anything in it is never invisible."""
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


def count_notices(states: Mapping[str, int]) -> list[Count]:
    """Notices by what people call their state."""
    counts: dict[str, Count] = {}
    for state in sorted(states, key=lambda state: list(NOTICE_WORDS).index(state) if state in NOTICE_WORDS else 99):
        label = NOTICE_WORDS.get(state, state)
        before = counts[label].count if label in counts else 0
        counts[label] = Count(state, label, before + states[state], state in _BAD_NOTICES)
    return list(counts.values())


def arrange_boxes(found: list[MailboxHealth], settings: Settings, now: datetime) -> list[Box]:
    """The configured mailboxes with when they were last read and what is wrong, if anything."""
    by_name = {health.name: health for health in found}
    return [_arrange_box(name, by_name.get(name), now) for name in settings.mailboxes]


def _arrange_box(name: str, health: MailboxHealth | None, now: datetime) -> Box:
    if health is None or health.checked_at is None:
        return Box(name, "never", "Not read yet: is casemill watch running?")
    age = spell_age(now - health.checked_at)
    checked = age if age == "just now" else f"{age} ago"
    if judge_mailbox(health, now) != OK:
        return Box(name, checked, f"{health.errors} errors in a row: casemill doctor says why.")
    silent = now - health.checked_at > SILENT_AFTER
    return Box(name, checked, "Silent: is casemill watch running?" if silent else "")
