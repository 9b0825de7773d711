"""The production invariants (reliability.md, Production invariants).

Each check is a pure function of figures from :mod:`ops.invariants.counts` and returns one finding. The scheduler runs all of them
for alerts; the status page, the metrics and `casemill doctor` show them. A healthy installation never reaches a threshold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy.orm import Session

from core.findings import Finding, ok, problem
from core.settings import Settings
from ingest.sources.imap.cursors import source_of
from ops.invariants import counts, external_services
from ops.invariants.counts import MAX_COUNT, QuarantineCounts, RowCount
from runtime.scheduler import LEASE

#: Due work is claimed within seconds.
MAX_DUE_AGE = timedelta(minutes=1)
#: Claims of a dead worker are released within 30 seconds (reliability.md, promise 4).
MAX_RECOVERY_TIME = timedelta(seconds=30)
#: Rate-limited notices wait in a queue that is served at intervals.
MAX_RATE_LIMIT_DELAY = timedelta(minutes=10)
MAX_SUBMITTED_AGE = timedelta(minutes=5)
MAX_MAILBOX_SILENCE = timedelta(minutes=5)
MAX_MAILBOX_ERRORS = 5
#: The longest lease lasts 15 seconds; its holder renews it every five.
MAX_LEASE_TTL = timedelta(seconds=15)

DEAD_LEASES, SILENT_MAILBOXES = "dead_leases", "silent_mailboxes"
CHECK_RUNNING_HINT = "check that `casemill run` (or the workers and `casemill tick`) is running, and read its log"
REPORT_HINT = "this must never happen: keep the database unchanged and report it"


class MailboxStatus(Protocol):
    """When a mailbox last answered, and its errors in a row since."""

    checked_at: datetime | None
    errors: int
    error: str | None


class LeaseStatus(Protocol):
    """The token of a lease's holder, when the lease expires, and the holder's last heartbeat."""

    token: str | None
    until: datetime | None
    beat_at: datetime | None


def check_invariants(session: Session, settings: Settings, now: datetime, *, all_rows: bool = False) -> list[Finding]:
    """Check all invariants; return one finding for each, in a fixed order.

    ``now`` is the database's time. ``all_rows`` reads whole tables where the check otherwise reads the newest ten thousand
    rows: for a person who asks once, not for the clock.
    """
    return [
        *_check_work(session, now),
        check_mailboxes(settings.mailboxes, _poll_intervals(settings), counts.read_mailbox_cursors(session), now),
        check_leases(settings.mailboxes, counts.read_leases(session), now),
        check_quarantine(counts.count_quarantine(session, now)),
        *external_services.check_external_services(session, settings, now),
        *_check_records(session, all_rows=all_rows),
    ]


def _check_work(session: Session, now: datetime) -> Iterator[Finding]:
    late, expired = now - MAX_DUE_AGE, now - MAX_RECOVERY_TIME
    yield check_count(
        "old_facts", counts.count_old_facts(session, late), "facts have been waiting for a handler for more than a minute",
        f"{CHECK_RUNNING_HINT}: the log names a fact whose handler fails",
    )  # fmt: skip
    yield check_count(
        "stuck_items", counts.count_waiting_items(session, late), "items have been due for more than a minute", CHECK_RUNNING_HINT
    )
    yield check_count(
        "lost_items", counts.count_expired_claims(session, expired), "items are claimed by a worker that has died",
        CHECK_RUNNING_HINT,
    )  # fmt: skip
    yield check_count(
        "stuck_deliveries", counts.count_due_deliveries(session, late, now - MAX_RATE_LIMIT_DELAY),
        "notices have been due for more than a minute", CHECK_RUNNING_HINT,
    )  # fmt: skip
    yield check_count(
        "lost_deliveries", counts.count_expired_delivery_claims(session, expired),
        "notices are claimed by a worker that has died", CHECK_RUNNING_HINT,
    )  # fmt: skip
    yield check_count(
        "ambiguous_deliveries", counts.count_ambiguous_deliveries(session, late),
        "notices that may or may not have arrived are waiting for their one repeat", CHECK_RUNNING_HINT,
    )  # fmt: skip
    yield check_count(
        "submitted_tickets", counts.count_submitted_tickets(session, now - MAX_SUBMITTED_AGE),
        "tickets are still in 1-Submitted after five minutes, because their creation notice has no outcome",
        "check that mail goes out: `casemill doctor`",
    )  # fmt: skip


def _check_records(session: Session, *, all_rows: bool) -> Iterator[Finding]:
    tickets = counts.count_tickets_without_activity(session, all_rows=all_rows)
    yield check_count("silent_tickets", tickets, "tickets have no activity", REPORT_HINT)
    items = counts.count_unsighted_items(session, all_rows=all_rows)
    yield check_count("unsighted_items", items, "items have no record of where they came from", REPORT_HINT)
    yield check_count(
        "empty_sightings", counts.count_empty_sightings(session, all_rows=all_rows), "sightings have no item", REPORT_HINT
    )
    yield check_count(
        "childless_workbooks", counts.count_workbooks_without_rows(session, all_rows=all_rows),
        "expanded workbooks have no rows in the ledger", "run `casemill reconcile workbooks --repair`",
    )  # fmt: skip


def check_count(code: str, rows: RowCount, text: str, hint: str) -> Finding:
    """Check an invariant that no row may violate. ``text`` continues the sentence that begins with the number. Pure."""
    if not rows.count:
        return ok(code, f"no {text}")
    number = f"{MAX_COUNT:,} or more" if rows.count >= MAX_COUNT else f"{rows.count:,}"
    return problem(code, f"{number} {text}", hint, count=rows.count, oldest=rows.oldest)


def check_mailboxes(
    names: Iterable[str], poll_intervals: Mapping[str, timedelta], rows: Mapping[str, MailboxStatus], now: datetime
) -> Finding:
    """Check that every mailbox was read lately and answers. Pure."""
    problems = {name: text for name in names if (text := _describe_mailbox_problem(rows.get(name), poll_intervals[name], now))}
    if not problems:
        return ok(SILENT_MAILBOXES, "every mailbox is read")
    moments = [rows[name].checked_at for name in problems if name in rows]
    text = "; ".join(f"mailbox {name} {text}" for name, text in problems.items())
    hint = "check that `casemill run` or `casemill watch` is running; `casemill doctor` shows what the mail server answers"
    oldest = min((moment for moment in moments if moment), default=None)
    return problem(SILENT_MAILBOXES, text, hint, count=len(problems), oldest=oldest)


def _describe_mailbox_problem(row: MailboxStatus | None, poll_interval: timedelta, now: datetime) -> str:
    if row is not None and row.errors >= MAX_MAILBOX_ERRORS:
        return f"failed {row.errors} times in a row ({(row.error or 'unknown').replace('_', ' ')})"
    if row is None or row.checked_at is None:
        return "was never read"
    if now - row.checked_at > max(MAX_MAILBOX_SILENCE, 2 * poll_interval):
        return f"was last read at {row.checked_at:%Y-%m-%d %H:%M} UTC"
    return ""


def check_leases(mailboxes: Iterable[str], leases: Mapping[str, LeaseStatus], now: datetime) -> Finding:
    """Check that the clock and the watcher of each mailbox are alive, and that no dead process holds another lease. Pure."""
    required = [LEASE, *map(source_of, mailboxes)]
    dead = [name for name in required if _is_dead(leases.get(name), now)]
    dead += [name for name in sorted(leases) if name not in required and _is_abandoned(leases[name], now)]
    if not dead:
        return ok(DEAD_LEASES, "the clock and all watchers are alive")
    beats = [leases[name].beat_at for name in dead if name in leases]
    text = f"no heartbeat from: {', '.join(dead)}"
    hint = "check that `casemill run` (or `casemill tick` and `casemill watch`) is running"
    return problem(DEAD_LEASES, text, hint, count=len(dead), oldest=min((beat for beat in beats if beat), default=None))


def is_running(session: Session, now: datetime) -> bool:
    """Return whether the clock sends heartbeats, and so whether this installation is meant to be running at all."""
    return not _is_dead(counts.read_leases(session).get(LEASE), now)


def _is_dead(lease: LeaseStatus | None, now: datetime) -> bool:
    return lease is None or lease.beat_at is None or now - lease.beat_at > MAX_LEASE_TTL + MAX_RECOVERY_TIME


def _is_abandoned(lease: LeaseStatus, now: datetime) -> bool:
    """A folder's watcher holds its lease only while it has work; an expired token belongs to a dead watcher."""
    return lease.token is not None and lease.until is not None and now - lease.until > MAX_RECOVERY_TIME


def check_quarantine(counted: QuarantineCounts) -> Finding:
    """Check that the last 24 hours quarantined no more items than the 24 hours before. Pure."""
    code, total = "growing_quarantine", f"{counted.total:,} in all"
    if counted.today <= counted.yesterday:
        return ok(code, f"the quarantine does not grow; {total}")
    text = f"{counted.today:,} items were quarantined in the last 24 hours, {counted.yesterday:,} in the 24 hours before; {total}"
    return problem(code, text, "review them with `casemill quarantine list`", count=counted.today, oldest=counted.oldest)


def _poll_intervals(settings: Settings) -> dict[str, timedelta]:
    return {name: timedelta(seconds=mailbox.poll_seconds) for name, mailbox in settings.mailboxes.items()}
