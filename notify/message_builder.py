"""Freezing: a delivery becomes the bytes that every attempt sends."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final

from core.reasons import Reason
from core.settings import Settings
from core.signing import Signer
from notify.claims import Claimed
from notify.mailing_types import LinkTarget, find_mailing_type
from notify.mime import MessageError, Outgoing, freeze
from notify.render import Renderer
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
        rendered = self._renderer.render(find_mailing_type(one.mailing).template, context)
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
            automatic=not find_mailing_type(one.mailing).is_staff_written,
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
        keys = find_mailing_type(one.mailing).datetime_keys
        moments = {key: datetime.fromisoformat(one.context[key]) for key in keys if key in one.context}
        return context | moments

    def _links(self, one: Claimed, name: str) -> dict[str, str]:
        base = self._settings.web.base_url.rstrip("/")
        match find_mailing_type(one.mailing).link:
            case LinkTarget.SURVEY:
                survey_id = one.context["survey_id"]
                answer, unsubscribe = self._signer.link(f"s{survey_id}"), self._signer.link(f"u{survey_id}")
                surveys = f"{base}/care/surveys"
                return {"link": f"{surveys}/{answer}", UNSUBSCRIBE_LINK: f"{surveys}/unsubscribe/{unsubscribe}"}
            case LinkTarget.CASE:
                return {"link": f"{base}/care/cases/{self._signer.link(f't{one.ticket_id}')}"}
            case LinkTarget.TICKET:
                return {"link": f"{base}/desk/tickets/{name}"}
            case LinkTarget.DESK:
                return {"link": f"{base}/desk"}


def reason_of(error: Exception) -> Reason:
    """Why a notice could not be made, without a word of what it was to say."""
    return BAD_ADDRESS if isinstance(error, MessageError) and error.field == "to" else NOT_RENDERABLE
