"""What an attempt came to, as a change of its delivery that can be written later, together with the next intent."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from core import clock
from core.backoff import Backoff
from core.reasons import Reason
from notify import claims
from notify.attempts import Record
from notify.claims import Claimed
from notify.mailing_types import make_outcome_facts

REPEAT_PAUSE = timedelta(minutes=1)
#: Pauses of a delivery that the mail server put off (RFC 5321 §4.5.4.1): a minute after the first attempt, 4 hours at most.
RETRY_BACKOFF = Backoff(first=timedelta(minutes=1), maximum=timedelta(hours=4))
#: Days may pass in which the relay itself is away: a mail that was hardly tried is not given up.
FEWEST_ATTEMPTS: Final = 5
_RELEASED: Final[dict[str, Any]] = {"claim": None, "claim_until": None}


def sent(one: Claimed, reply: str) -> Record:
    return _final(one, "sent", Reason("accepted", "The mail server accepted it"), reply)


def failed(one: Claimed, reason: Reason, reply: str, **values: Any) -> Record:
    """Not delivered and never will be; where nobody knows of an earlier attempt, that remains so."""
    return _final(one, "ambiguous" if one.ambiguities else "failed", reason, reply, **values)


def refused(one: Claimed, reply: str) -> Record:
    return failed(one, Reason("refused", f"The mail server refused it: {reply}"), reply)


def later(one: Claimed, reply: str, give_up_days: float) -> Record:
    """Not now: again with growing pauses, and given up after some days (RFC 5321 §4.5.4.1)."""
    attempts = one.attempts + 1
    now = clock.now()
    if now - one.created_at >= timedelta(days=give_up_days) and attempts >= FEWEST_ATTEMPTS:
        reason = Reason("gave_up", f"The mail server put it off for days: {reply}")
        return failed(one, reason, reply, attempts=attempts)
    values: dict[str, Any] = {
        "attempts": attempts,
        "ambiguities": one.ambiguities,
        "due_at": now + RETRY_BACKOFF.after(attempts),
        "smtp_reply": reply,
        "reason_code": "put_off",
        "reason": f"The mail server put it off: {reply}",
        **_RELEASED,
    }
    if not one.ambiguities:
        values["tried_at"] = None  # nothing was delivered, so it does not count
    state = "ambiguous" if one.ambiguities else "pending"
    return Record(one.id, {"state": state, **values})


def ambiguous(one: Claimed, reply: str) -> Record:
    """Handed over, and no answer came: once more after a pause where the mailing may be repeated, else for good."""
    ambiguities = one.ambiguities + 1
    if not claims.may_repeat(one.mailing, ambiguities):
        return _final(one, "ambiguous", claims.LOST, reply, ambiguities=ambiguities)
    values: dict[str, Any] = {
        "ambiguities": ambiguities,
        "due_at": clock.now() + REPEAT_PAUSE,
        "smtp_reply": reply,
        "reason_code": claims.LOST.code,
        "reason": claims.LOST.text,
        **_RELEASED,
    }
    return Record(one.id, {"state": "ambiguous", **values})


def _final(one: Claimed, state: str, reason: Reason, reply: str, **values: Any) -> Record:
    told = {"reason_code": reason.code, "reason": reason.text, "smtp_reply": reply, "finished_at": clock.now()}
    changes = {"state": state, "ambiguities": one.ambiguities, **told, **_RELEASED, **values}
    return Record(one.id, changes, make_outcome_facts(one, state, reason))
