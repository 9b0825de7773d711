"""The invariants of a running house (reliability.md, Production invariants): judged by the clock, shown wherever people look.

A judgement is a pure function of a figure from :mod:`ops.invariants.counts`; the thresholds are what a healthy house never reaches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy.orm import Session

from core.findings import Finding
from core.settings import Settings
from ingest.sources.imap.cursors import source_of
from ops.invariants import counts, external_services
from ops.invariants.counts import CAP, InvariantCount, Quarantine
from runtime.scheduler import LEASE

#: Work that is due is taken within seconds.
PATIENCE = timedelta(minutes=1)
#: Claims of the dead come back within 30 seconds (reliability.md, promise 4).
RECOVERY = timedelta(seconds=30)
#: Notices over the limits stand in line, and their line is asked in turns.
DELAYED_PATIENCE = timedelta(minutes=10)
SUBMITTED_PATIENCE = timedelta(minutes=5)
SILENCE = timedelta(minutes=5)
MANY_ERRORS = 5
#: The longest lease is 15 seconds and renewed every five.
LONGEST_LEASE = timedelta(seconds=15)

DEAD_LEASES, SILENT_MAILBOXES = "dead_leases", "silent_mailboxes"
RUNNING = "see that `casemill run` (or the workers and `casemill tick`) runs, and its log"
REPORT = "this must never happen: keep the database as it is and report it"


class Cursor(Protocol):
    """What is asked of a mailbox: when it last answered, and its errors in a row since."""

    checked_at: datetime | None
    errors: int
    error: str | None


class Lease(Protocol):
    """What is asked of a lease: its holder's token, its end, and the holder's last sign of life."""

    token: str | None
    until: datetime | None
    beat_at: datetime | None


def check(session: Session, settings: Settings, now: datetime, *, whole: bool = False) -> list[Finding]:
    """All invariants, in a fixed order, those that hold with a count of 0.

    ``now`` is the database's time. ``whole`` looks through whole tables where otherwise the newest ten thousand rows do;
    that is for people who ask once, not for a clock.
    """
    return [
        *_judge_work(session, now),
        judge_mailboxes(settings.mailboxes, _paces(settings), counts.mailboxes(session), now),
        judge_leases(settings.mailboxes, counts.held_leases(session), now),
        judge_quarantine(counts.quarantine(session, now)),
        *external_services.check(session, settings, now),
        *_judge_records(session, whole=whole),
    ]


def _judge_work(session: Session, now: datetime) -> Iterator[Finding]:
    late, lost = now - PATIENCE, now - RECOVERY
    yield judge(
        "old_facts", counts.facts(session, late), "facts have not reached all their readers for more than a minute",
        f"{RUNNING}: it names a fact that fails",
    )  # fmt: skip
    yield judge("stuck_items", counts.waiting_items(session, late), "items have been due for more than a minute", RUNNING)
    yield judge(
        "lost_items", counts.claimed_items(session, lost), "items are held by a worker that gave no sign of life", RUNNING
    )
    yield judge(
        "stuck_deliveries", counts.pending_deliveries(session, late, now - DELAYED_PATIENCE),
        "notices have been due for more than a minute", RUNNING,
    )  # fmt: skip
    yield judge(
        "lost_deliveries", counts.held_deliveries(session, lost), "notices are held by a worker that gave no sign of life",
        RUNNING,
    )  # fmt: skip
    yield judge(
        "ambiguous_deliveries", counts.ambiguous_deliveries(session, late),
        "notices of which nobody knows whether they arrived wait for their one repeat", RUNNING,
    )  # fmt: skip
    yield judge(
        "submitted_tickets", counts.submitted_tickets(session, now - SUBMITTED_PATIENCE),
        "tickets are still 1-Submitted after five minutes, because their notice has no outcome",
        "see that mail goes out: `casemill doctor`",
    )  # fmt: skip


def _judge_records(session: Session, *, whole: bool) -> Iterator[Finding]:
    yield judge("silent_tickets", counts.silent_tickets(session, whole=whole), "tickets have no activity", REPORT)
    yield judge(
        "unsighted_items", counts.unsighted_items(session, whole=whole), "items have no record of where they were seen", REPORT
    )
    yield judge("empty_sightings", counts.empty_sightings(session, whole=whole), "sightings have no item", REPORT)
    yield judge(
        "childless_workbooks", counts.childless_items(session, whole=whole), "expanded workbooks have no rows in the ledger",
        "run `casemill reconcile workbooks --repair`",
    )  # fmt: skip


def judge(code: str, tally: InvariantCount, text: str, hint: str) -> Finding:
    """An invariant that no row may be against. Pure."""
    if not tally.count:
        return Finding(code, 0, f"no {text}")
    number = f"{CAP:,} or more" if tally.count >= CAP else f"{tally.count:,}"
    return Finding(code, tally.count, f"{number} {text}", hint, tally.oldest)


def judge_mailboxes(names: Iterable[str], paces: Mapping[str, timedelta], found: Mapping[str, Cursor], now: datetime) -> Finding:
    """Every mailbox was read lately and answers. Pure; ``paces`` says how often each is read."""
    wrong = {name: told for name in names if (told := _silence(found.get(name), paces[name], now))}
    if not wrong:
        return Finding(SILENT_MAILBOXES, 0, "every mailbox is read")
    moments = [found[name].checked_at for name in wrong if name in found]
    text = "; ".join(f"mailbox {name} {told}" for name, told in wrong.items())
    hint = "see that `casemill run` or `casemill watch` runs; `casemill doctor` says what the server answers"
    return Finding(SILENT_MAILBOXES, len(wrong), text, hint, min((one for one in moments if one), default=None))


def _silence(cursor: Cursor | None, pace: timedelta, now: datetime) -> str:
    if cursor is not None and cursor.errors >= MANY_ERRORS:
        return f"failed {cursor.errors} times in a row ({(cursor.error or 'unknown').replace('_', ' ')})"
    if cursor is None or cursor.checked_at is None:
        return "was never read"
    if now - cursor.checked_at > max(SILENCE, 2 * pace):
        return f"was last read at {cursor.checked_at:%Y-%m-%d %H:%M} UTC"
    return ""


def judge_leases(mailboxes: Iterable[str], found: Mapping[str, Lease], now: datetime) -> Finding:
    """The clock and the watcher of each mailbox are alive, and no other lease is kept by the dead. Pure."""
    always = [LEASE, *map(source_of, mailboxes)]
    dead = [name for name in always if _is_silent(found.get(name), now)]
    dead += [name for name in sorted(found) if name not in always and _is_left(found[name], now)]
    if not dead:
        return Finding(DEAD_LEASES, 0, "the clock and all watchers give signs of life")
    beats = [found[name].beat_at for name in dead if name in found]
    text = f"no sign of life from: {', '.join(dead)}"
    hint = "see that `casemill run` (or `casemill tick` and `casemill watch`) runs"
    return Finding(DEAD_LEASES, len(dead), text, hint, min((beat for beat in beats if beat), default=None))


def is_running(session: Session, now: datetime) -> bool:
    """Whether the clock gives signs of life, and so whether this house is meant to be running at all."""
    return not _is_silent(counts.held_leases(session).get(LEASE), now)


def _is_silent(lease: Lease | None, now: datetime) -> bool:
    return lease is None or lease.beat_at is None or now - lease.beat_at > LONGEST_LEASE + RECOVERY


def _is_left(lease: Lease, now: datetime) -> bool:
    """A folder's lease is held while there is something to do; a token whose time is over belongs to a dead watcher."""
    return lease.token is not None and lease.until is not None and now - lease.until > RECOVERY


def judge_quarantine(found: Quarantine) -> Finding:
    """Not more was set aside in the last 24 hours than in the 24 hours before. Pure."""
    code, total = "growing_quarantine", f"{found.total:,} in all"
    if found.today <= found.before:
        return Finding(code, 0, f"the quarantine does not grow; {total}")
    text = f"{found.today:,} items were set aside in the last 24 hours, {found.before:,} in the 24 hours before; {total}"
    return Finding(code, found.today, text, "look at them with `casemill quarantine list`", found.oldest)


def _paces(settings: Settings) -> dict[str, timedelta]:
    return {name: timedelta(seconds=mailbox.poll_seconds) for name, mailbox in settings.mailboxes.items()}
