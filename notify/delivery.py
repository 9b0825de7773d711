"""Sending: claim, decide, render and freeze, then hand over one by one, each step durable before the next.

The commit of the intent to send n+1 also records that n was sent: one commit a mail.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from core import claims as core_claims
from core import clock
from core.db import Database
from core.failpoints import failpoint
from core.hints import hint
from core.reasons import Reason
from core.settings import Settings
from core.signing import Signer
from notify import claims, limits
from notify.claims import Claimed, ClaimLostError
from notify.mailings import settled
from notify.mime import MessageError, Outgoing, freeze
from notify.models import Delivery
from notify.render import Renderer, RenderError
from notify.senders import AmbiguousOutcome, PermanentFailure, RelayUnavailable, Sender, TemporaryFailure
from outbox import facts
from tickets.numbers import number

log = logging.getLogger("casemill.notify")

BATCH = 50
RELAY_PAUSE = timedelta(seconds=15)
REPEAT_PAUSE = timedelta(minutes=1)
FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=1), timedelta(hours=4)
#: Final outcomes of one attempt, written together with the next intent.
Record = Callable[[Session], None]


@dataclass(slots=True)
class _Run:
    """One batch under one claim; ``record`` is the outcome that is not yet written."""

    token: str
    record: Record | None = None
    finished: set[int] = field(default_factory=set)


class Delivering:
    """Sends what is due. One instance a thread: its sender keeps a connection."""

    def __init__(self, database: Database, settings: Settings, renderer: Renderer, signer: Signer, sender: Sender) -> None:
        self._database = database
        self._settings = settings
        self._renderer = renderer
        self._signer = signer
        self._sender = sender

    def drain(self) -> int:
        """Work on one batch of due deliveries; returns how many it took. Raises only when the database is away."""
        run = _Run(core_claims.new_token())
        batch = claims.claim(self._database, run.token, BATCH)
        if not batch:
            return 0
        failpoint("notify.claimed")
        with core_claims.kept(lambda: claims.renew(self._database, run.token)):
            try:
                self._send_all(run, self._freeze_all(run, self._decide_all(run, batch)))
            finally:
                self._write_record(run)
                self._let_go(run, [one.id for one in batch])
        hint("outbox.drain")
        return len(batch)

    def close(self) -> None:
        self._sender.close()

    def _decide_all(self, run: _Run, batch: Sequence[Claimed]) -> list[Claimed]:
        """Those that may go now; the others are skipped or delayed, with their reason."""
        outside = [one for one in batch if one.outside and one.attempts == 0 and one.ambiguities == 0]
        now = clock.now()
        with self._database.read() as session:
            recipients, domains = [one.recipient for one in outside], [one.domain for one in outside]
            counts = limits.count(session, recipients, domains, [one.ticket_id for one in outside], now)
            blocked = limits.suppressed(session, recipients, now)
        allowed, refused = [], []
        for one in batch:
            ruling = limits.SEND
            if one in outside:
                ruling = limits.rule(one.ticket_id, one.recipient, one.domain, counts, blocked, self._settings.notices)
            if ruling.verdict == "send":
                counts.add(one.ticket_id, one.recipient, one.domain)
                allowed.append(one)
            else:
                refused.append((one, ruling))
        if refused:
            self._database.run(lambda session: self._refuse(session, run, refused))
        return allowed

    def _refuse(self, session: Session, run: _Run, refused: Sequence[tuple[Claimed, limits.Ruling]]) -> None:
        now = clock.now()
        for one, ruling in refused:
            reason = ruling.reason or Reason("limit", "A limit was reached")
            told = {"reason_code": reason.code, "reason": reason.text, "claim": None, "claim_until": None}
            run.finished.add(one.id)
            if ruling.verdict == "delay":
                claims.change(session, run.token, one.id, "pending", due_at=now + limits.DELAY, **told)
                continue
            claims.change(session, run.token, one.id, "skipped", finished_at=now, **told)
            facts.append(session, [settled(one, "skipped", reason)], now)

    def _freeze_all(self, run: _Run, batch: Sequence[Claimed]) -> list[Claimed]:
        """Render what was never rendered, and commit the bytes before the first attempt."""
        frozen: list[Claimed] = []
        rows = []
        for one in batch:
            if one.frozen is None:
                try:
                    one = self._freeze(one, clock.now())
                except (RenderError, MessageError) as error:
                    log.error("a notice could not be made", extra={"delivery": one.id, "error": type(error).__name__})
                    self._fail(run, one, Reason("not_renderable", "The notice could not be made from its template"), "")
                    continue
                rows.append({"id": one.id, "message_id": one.message_id, "frozen": one.frozen})
            frozen.append(one)
        if rows:
            self._database.run(lambda session: session.execute(update(Delivery), rows))
        failpoint("notify.frozen")
        return frozen

    def _freeze(self, one: Claimed, now: datetime) -> Claimed:
        settings = self._settings
        message_id = self._signer.message_id(f"t{one.ticket_id}.d{one.id}")
        rendered = self._renderer.render(one.mailing, self._context(one))
        outgoing = Outgoing(
            from_address=settings.notices.from_address,
            from_name=settings.notices.sender_name,
            to_address=one.recipient,
            subject=rendered.subject,
            date=now,
            message_id=message_id,
            text=rendered.text,
            html=rendered.html,
            loop=settings.notices.domain,
            reply_to=settings.notices.reply_to,
        )
        return replace(one, message_id=message_id, frozen=freeze(outgoing))

    def _context(self, one: Claimed) -> dict[str, object]:
        name = number(one.ticket_id)
        room = "care/cases" if one.outside else "desk/tickets"
        context: dict[str, object] = {
            **one.context,
            "number": name,
            "link": f"{self._settings.web.base_url.rstrip('/')}/{room}/{name}",
            "team_name": self._settings.notices.sender_name,
        }
        if "received_at" in one.context:
            context["received_at"] = datetime.fromisoformat(one.context["received_at"])
        return context

    def _send_all(self, run: _Run, batch: Sequence[Claimed]) -> None:
        for one in batch:
            try:
                self._send(run, one)
            except ClaimLostError:
                run.record = None
                run.finished.add(one.id)
            except RelayUnavailable as error:
                log.warning("the way out is closed", extra={"error": type(error).__name__})
                return

    def _send(self, run: _Run, one: Claimed) -> None:
        """One attempt; afterwards ``run.record`` holds what it came to."""
        envelope_from = self._signer.envelope_sender(f"d{one.id}")
        assert one.frozen is not None  # noqa: S101 - frozen just before
        try:
            reply = self._sender.transmit(envelope_from, one.recipient, one.frozen, one.key, lambda: self._intend(run, one))
        except RelayUnavailable:
            raise
        except AmbiguousOutcome as error:
            self._keep(run, one, self._ambiguous(one, error.reply))
        except TemporaryFailure as error:
            self._keep(run, one, self._later(one, error.reply))
        except PermanentFailure as error:
            self._keep(run, one, self._failed(one, Reason("refused", f"The mail server refused it: {error.reply}"), error.reply))
        else:
            failpoint("notify.accepted")
            self._keep(run, one, self._sent(one, reply))

    def _intend(self, run: _Run, one: Claimed) -> None:
        """Called just before the final dot: write the last outcome and this intent in one commit."""
        previous = run.record

        def unit(session: Session) -> None:
            if previous is not None:
                previous(session)
            now = clock.now()
            claims.change(session, run.token, one.id, "intent", attempts=one.attempts + 1, tried_at=now)

        self._database.run(unit)
        run.record = None
        failpoint("notify.intent")

    def _keep(self, run: _Run, one: Claimed, record: Callable[[Session, str], None]) -> None:
        self._write_record(run)
        run.record = lambda session: record(session, run.token)
        run.finished.add(one.id)

    def _write_record(self, run: _Run) -> None:
        record, run.record = run.record, None
        if record is not None:
            try:
                self._database.run(record)
            except ClaimLostError:
                log.warning("a delivery was no longer ours when its outcome came")

    def _let_go(self, run: _Run, ids: Sequence[int]) -> None:
        rest = [one for one in ids if one not in run.finished]
        if rest:
            self._database.run(lambda session: claims.give_back(session, run.token, rest, clock.now() + RELAY_PAUSE))

    def _fail(self, run: _Run, one: Claimed, reason: Reason, reply: str) -> None:
        self._database.run(lambda session: self._failed(one, reason, reply)(session, run.token))
        run.finished.add(one.id)

    def _sent(self, one: Claimed, reply: str) -> Callable[[Session, str], None]:
        return _final(one, "sent", Reason("accepted", "The mail server accepted it"), reply)

    def _failed(self, one: Claimed, reason: Reason, reply: str) -> Callable[[Session, str], None]:
        return _final(one, "failed", reason, reply)

    def _later(self, one: Claimed, reply: str) -> Callable[[Session, str], None]:
        """Not now: again with growing pauses, and given up after some days (RFC 5321 §4.5.4.1)."""
        attempts = one.attempts + 1
        now = clock.now()
        if now - one.created_at >= timedelta(days=self._settings.notices.give_up_days):
            return self._failed(one, Reason("gave_up", f"The mail server put it off for days: {reply}"), reply)
        pause = min(FIRST_PAUSE * 2 ** (attempts - 1), LONGEST_PAUSE)
        values: dict[str, Any] = {
            "attempts": attempts,
            "due_at": now + pause,
            "smtp_reply": reply,
            "reason_code": "put_off",
            "reason": f"The mail server put it off: {reply}",
            **_RELEASED,
        }
        state = "ambiguous" if one.ambiguities else "pending"
        return lambda session, token: claims.change(session, token, one.id, state, **values)

    def _ambiguous(self, one: Claimed, reply: str) -> Callable[[Session, str], None]:
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
        return lambda session, token: claims.change(session, token, one.id, "ambiguous", **values)


_RELEASED: dict[str, Any] = {"claim": None, "claim_until": None}


def _final(one: Claimed, state: str, reason: Reason, reply: str, **values: Any) -> Callable[[Session, str], None]:
    def record(session: Session, token: str) -> None:
        now = clock.now()
        told = {"reason_code": reason.code, "reason": reason.text, "smtp_reply": reply, "finished_at": now}
        claims.change(session, token, one.id, state, **told, **_RELEASED, **values)
        facts.append(session, [settled(one, state, reason)], now)

    return record
