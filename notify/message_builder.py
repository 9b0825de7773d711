"""Freezing: a delivery becomes the bytes that every attempt sends."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final

from core.reasons import Reason
from core.settings import Settings
from core.signing import Signer
from notify.claims import Claimed
from notify.mime import MessageError, Outgoing, freeze
from notify.render import Renderer
from notify.staff_messages import LETTERS
from tickets.numbers import number

#: The unsubscribe link of a mailing that has one.
UNSUBSCRIBE_LINK: Final = "unsubscribe_link"
NOT_RENDERABLE = Reason("not_renderable", "The notice could not be made from its template")
BAD_ADDRESS = Reason("unusable_address", "The address is not one that mail can be sent to")


class MessageBuilder:
    """Makes frozen messages. Safe to share by threads."""

    def __init__(self, settings: Settings, renderer: Renderer, signer: Signer) -> None:
        self._settings = settings
        self._renderer = renderer
        self._signer = signer

    def freeze(self, one: Claimed, now: datetime) -> Claimed:
        """``one`` with its bytes and Message-ID. Raises RenderError, MessageError, and whatever an odd context causes."""
        notices = self._settings.notices
        message_id = self._signer.message_id(f"t{one.ticket_id or 0}.d{one.id}")
        context = self._context(one)
        rendered = self._renderer.render(one.mailing, context)
        outgoing = Outgoing(
            from_address=notices.from_address,
            from_name=", ".join(filter(None, (str(context.get("writer", "")), notices.sender_name))),
            to_address=one.recipient,
            subject=rendered.subject,
            date=now,
            message_id=message_id,
            text=rendered.text,
            html=rendered.html,
            loop=notices.domain,
            reply_to=self._reply_to(one),
            in_reply_to=str(one.context.get("in_reply_to", "")),
            references=tuple(one.context.get("references", ())),
            automatic=one.mailing not in LETTERS,
            unsubscribe=str(context.get(UNSUBSCRIBE_LINK, "")),
        )
        return replace(one, message_id=message_id, frozen=freeze(outgoing))

    def _reply_to(self, one: Claimed) -> str:
        """Where the mailbox takes such addresses, an answer names its ticket even when the program loses every header."""
        notices = self._settings.notices
        signed = notices.plus_addressing and one.outside and one.ticket_id is not None
        return self._signer.reply_address(f"t{one.ticket_id}") if signed else notices.reply_to

    def envelope_sender(self, one: Claimed) -> str:
        """Where a bounce of this delivery comes back to, and what machines answer to (RFC 3834 §4)."""
        return self._signer.envelope_sender(f"t{one.ticket_id or 0}.d{one.id}")

    def _context(self, one: Claimed) -> dict[str, object]:
        if one.ticket_id is None:  # about no ticket: the digest
            desk = f"{self._settings.web.base_url.rstrip('/')}/desk"
            return {**one.context, "link": desk, "team_name": self._settings.notices.sender_name}
        name = number(one.ticket_id)
        context: dict[str, object] = {
            **one.context,
            **self._links(one, name),
            "number": name,
            "team_name": self._settings.notices.sender_name,
        }
        moments = {key: datetime.fromisoformat(value) for key, value in one.context.items() if key.endswith("_at")}
        return context | moments

    def _links(self, one: Claimed, name: str) -> dict[str, str]:
        base = self._settings.web.base_url.rstrip("/")
        if (survey_id := one.context.get("survey_id")) is not None:
            answer, unsubscribe = self._signer.link(f"s{survey_id}"), self._signer.link(f"u{survey_id}")
            surveys = f"{base}/care/surveys"
            return {"link": f"{surveys}/{answer}", UNSUBSCRIBE_LINK: f"{surveys}/unsubscribe/{unsubscribe}"}
        if one.outside:
            return {"link": f"{base}/care/cases/{self._signer.link(f't{one.ticket_id}')}"}
        return {"link": f"{base}/desk/tickets/{name}"}


def reason_of(error: Exception) -> Reason:
    """Why a notice could not be made, without a word of what it was to say."""
    return BAD_ADDRESS if isinstance(error, MessageError) and error.field == "to" else NOT_RENDERABLE
