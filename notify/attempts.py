"""Outcomes of delivery attempts: what an attempt changes in its delivery, and how that is written.

The outcome of one delivery is written in the same commit as the intent to send the next: one commit a mail
(docs/decisions/delivery-outcomes-as-facts.md).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any, Final, cast

from sqlalchemy import Table, bindparam, exists, insert, literal, select

from core import clock
from core.backoff import Backoff
from core.database.session import Database
from core.database.types import Transaction
from core.reasons import Reason
from notify import claims
from notify.claims import ClaimedDelivery, ClaimLostError
from notify.mailing_types import make_outcome_facts
from outbox.append import FACT_COLUMNS, append_facts, fact_row
from outbox.facts import Fact
from outbox.models import OutboxFact

log = logging.getLogger("casemill.notify")

#: The pause before the one repeat of an ambiguous delivery.
REPEAT_PAUSE = timedelta(minutes=1)
#: Pauses of a deferred delivery (RFC 5321 §4.5.4.1): a minute after the first attempt, 4 hours at most.
RETRY_BACKOFF = Backoff(first=timedelta(minutes=1), maximum=timedelta(hours=4))
#: A delivery is given up after so many attempts at the earliest: the relay itself may be down for days.
MIN_ATTEMPTS: Final = 5
_UNCLAIMED: Final[dict[str, Any]] = {"claim": None, "claim_until": None}
_FACTS = cast(Table, OutboxFact.__table__)


@dataclass(frozen=True, slots=True)
class AttemptOutcome:
    """How an attempt ended: the changes of its delivery by column, ``state`` among them, and the facts to append."""

    delivery_id: int
    changes: Mapping[str, Any]
    facts: Sequence[Fact] = ()


def sent_outcome(delivery: ClaimedDelivery, reply: str) -> AttemptOutcome:
    """Return the outcome of an accepted mail."""
    return _final_outcome(delivery, "sent", Reason("accepted", "The mail server accepted it"), reply)


def failed_outcome(delivery: ClaimedDelivery, reason: Reason, reply: str, **values: Any) -> AttemptOutcome:
    """Return the outcome of a mail that was not delivered and is not tried again.

    The delivery stays ambiguous where an earlier attempt was: that mail may have arrived.
    """
    return _final_outcome(delivery, "ambiguous" if delivery.ambiguities else "failed", reason, reply, **values)


def refused_outcome(delivery: ClaimedDelivery, reply: str) -> AttemptOutcome:
    """Return the outcome of a mail that the server refused permanently (5xx)."""
    return failed_outcome(delivery, Reason("refused", f"The mail server refused it: {reply}"), reply)


def deferred_outcome(delivery: ClaimedDelivery, reply: str, give_up_days: float) -> AttemptOutcome:
    """Return the outcome of a temporary failure: the next attempt after a back-off, or none after ``give_up_days``.

    Source: RFC 5321 §4.5.4.1.
    """
    attempts = delivery.attempts + 1
    now = clock.now()
    if now - delivery.created_at >= timedelta(days=give_up_days) and attempts >= MIN_ATTEMPTS:
        reason = Reason("gave_up", f"The mail server put it off for days: {reply}")
        return failed_outcome(delivery, reason, reply, attempts=attempts)
    values: dict[str, Any] = {
        "attempts": attempts,
        "ambiguities": delivery.ambiguities,
        "due_at": now + RETRY_BACKOFF.after(attempts),
        "smtp_reply": reply,
        "reason_code": "put_off",
        "reason": f"The mail server put it off: {reply}",
        **_UNCLAIMED,
    }
    if not delivery.ambiguities:
        # Nothing was delivered, so the rate limits do not count it.
        values["tried_at"] = None
    state = "ambiguous" if delivery.ambiguities else "pending"
    return AttemptOutcome(delivery.id, {"state": state, **values})


def ambiguous_outcome(delivery: ClaimedDelivery, reply: str) -> AttemptOutcome:
    """Return the outcome of a mail that was sent whole and got no reply: one repeat where allowed, otherwise final."""
    ambiguities = delivery.ambiguities + 1
    if not claims.may_repeat(delivery.mailing, ambiguities):
        return _final_outcome(delivery, "ambiguous", claims.OUTCOME_UNKNOWN, reply, ambiguities=ambiguities)
    values: dict[str, Any] = {
        "ambiguities": ambiguities,
        "due_at": clock.now() + REPEAT_PAUSE,
        "smtp_reply": reply,
        "reason_code": claims.OUTCOME_UNKNOWN.code,
        "reason": claims.OUTCOME_UNKNOWN.text,
        **_UNCLAIMED,
    }
    return AttemptOutcome(delivery.id, {"state": "ambiguous", **values})


def record_outcome(session: Transaction, token: str, outcome: AttemptOutcome) -> None:
    """Write an outcome and its facts, unless the claim was lost: the worker that has it now records its own."""
    try:
        claims.update_claimed(session, token, outcome.delivery_id, **outcome.changes)
    except ClaimLostError:
        _log_lost_claim(outcome)
    else:
        append_facts(session, outcome.facts, clock.now())


def record_intent(database: Database, token: str, delivery: ClaimedDelivery, previous: AttemptOutcome | None) -> None:
    """Commit the intent to send ``delivery`` and, in the same commit, the outcome of the ``previous`` one.

    Raises :class:`ClaimLostError` when the claim on ``delivery`` was lost; the previous outcome is written all the same.
    """
    changes = {"state": "intent", "attempts": delivery.attempts + 1, "tried_at": clock.now()}
    # SQLite has no round trips to save, and no data-changing CTEs.
    write = _write_separately if database.is_sqlite else _write_in_one_statement
    if not database.autocommit(lambda session: write(session, token, delivery.id, changes, previous)):
        raise ClaimLostError


def _final_outcome(delivery: ClaimedDelivery, state: str, reason: Reason, reply: str, **values: Any) -> AttemptOutcome:
    final = {"reason_code": reason.code, "reason": reason.text, "smtp_reply": reply, "finished_at": clock.now()}
    changes = {"state": state, "ambiguities": delivery.ambiguities, **final, **_UNCLAIMED, **values}
    return AttemptOutcome(delivery.id, changes, make_outcome_facts(delivery, state, reason))


def _write_separately(
    session: Transaction, token: str, delivery_id: int, changes: Mapping[str, Any], previous: AttemptOutcome | None
) -> bool:
    if previous is not None:
        record_outcome(session, token, previous)
    try:
        claims.update_claimed(session, token, delivery_id, **changes)
    except ClaimLostError:
        return False
    return True


def _write_in_one_statement(
    session: Transaction, token: str, delivery_id: int, changes: Mapping[str, Any], previous: AttemptOutcome | None
) -> bool:
    """Do the same in one statement: on PostgreSQL a mail then costs one round trip instead of five."""
    values: dict[str, Any] = {"of_claim": token, **_prefixed("next", delivery_id, changes)}
    if previous is None:
        names: tuple[str, ...] = ()
    else:
        names = tuple(sorted(previous.changes))
        values |= _prefixed("last", previous.delivery_id, previous.changes)
    facts = previous.facts if previous is not None else ()
    for number, fact in enumerate(facts):
        values |= {f"fact{number}_{name}": value for name, value in fact_row(fact, clock.now()).items()}
    statement = _build_statement(tuple(sorted(changes)), names, len(facts))
    intended, recorded = session.connection().execute(statement, values).one()
    if previous is not None and not recorded:
        _log_lost_claim(previous)
    return bool(intended)


def _prefixed(prefix: str, delivery_id: int, changes: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}_id": delivery_id, **{f"{prefix}_{name}": value for name, value in changes.items()}}


@lru_cache(maxsize=64)
def _build_statement(next_names: tuple[str, ...], last_names: tuple[str, ...], fact_count: int) -> Any:
    """Return the SELECT of whether the intent and the previous outcome were written, with the writes as CTEs.

    The CTEs of one statement do not see each other's rows. They do not need to: each writes a row of its own.
    """
    intended = claims.build_claimed_update(next_names, "next").returning(literal(1)).cte("intended")
    if not last_names:
        return select(exists(select(intended)), literal(value=False))
    recorded = claims.build_claimed_update(last_names, "last").returning(literal(1)).cte("recorded")
    statement = select(exists(select(intended)), exists(select(recorded)))
    for number in range(fact_count):
        parameters = [bindparam(f"fact{number}_{name}", type_=_FACTS.c[name].type) for name in FACT_COLUMNS]
        added = insert(_FACTS).from_select(FACT_COLUMNS, select(*parameters).select_from(recorded)).returning(_FACTS.c.id)
        statement = statement.add_cte(added.cte(f"fact{number}"))
    return statement


def _log_lost_claim(outcome: AttemptOutcome) -> None:
    log.warning("delivery claim lost before outcome was recorded", extra={"delivery": outcome.delivery_id})
