"""Freezing: a delivery becomes the bytes that every attempt sends."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from core.reasons import Reason
from core.settings import Settings
from core.signing import Signer
from notify.claims import Claimed
from notify.mime import MessageError, Outgoing, freeze
from notify.render import Renderer
from tickets.numbers import number

NOT_RENDERABLE = Reason("not_renderable", "The notice could not be made from its template")
BAD_ADDRESS = Reason("unusable_address", "The address is not one that mail can be sent to")


class Freezer:
    """Makes frozen messages. Safe to share by threads."""

    def __init__(self, settings: Settings, renderer: Renderer, signer: Signer) -> None:
        self._settings = settings
        self._renderer = renderer
        self._signer = signer

    def freeze(self, one: Claimed, now: datetime) -> Claimed:
        """``one`` with its bytes and Message-ID. Raises RenderError, MessageError, and whatever an odd context causes."""
        notices = self._settings.notices
        message_id = self._signer.message_id(f"t{one.ticket_id}.d{one.id}")
        rendered = self._renderer.render(one.mailing, self._context(one))
        outgoing = Outgoing(
            from_address=notices.from_address,
            from_name=notices.sender_name,
            to_address=one.recipient,
            subject=rendered.subject,
            date=now,
            message_id=message_id,
            text=rendered.text,
            html=rendered.html,
            loop=notices.domain,
            reply_to=self._reply_to(one),
        )
        return replace(one, message_id=message_id, frozen=freeze(outgoing))

    def _reply_to(self, one: Claimed) -> str:
        """Where the mailbox takes such addresses, an answer names its ticket even when the program loses every header."""
        notices = self._settings.notices
        signed = notices.plus_addressing and one.outside
        return self._signer.reply_address(f"t{one.ticket_id}") if signed else notices.reply_to

    def envelope_sender(self, one: Claimed) -> str:
        """Where a bounce of this delivery comes back to, and what machines answer to (RFC 3834 §4)."""
        return self._signer.envelope_sender(f"t{one.ticket_id}.d{one.id}")

    def _context(self, one: Claimed) -> dict[str, object]:
        name = number(one.ticket_id)
        room = f"care/cases/{self._signer.link(f't{one.ticket_id}')}" if one.outside else f"desk/tickets/{name}"
        context: dict[str, object] = {
            **one.context,
            "number": name,
            "link": f"{self._settings.web.base_url.rstrip('/')}/{room}",
            "team_name": self._settings.notices.sender_name,
        }
        moments = {key: datetime.fromisoformat(value) for key, value in one.context.items() if key.endswith("_at")}
        return context | moments


def reason_of(error: Exception) -> Reason:
    """Why a notice could not be made, without a word of what it was to say."""
    return BAD_ADDRESS if isinstance(error, MessageError) and error.field == "to" else NOT_RENDERABLE
