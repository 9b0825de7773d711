"""The message builder: a claimed delivery becomes the bytes that every attempt sends."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final

from core.reasons import Reason
from core.settings import Settings
from core.signing import Signer
from notify.claims import ClaimedDelivery
from notify.mailing_types import LinkTarget, find_mailing_type
from notify.mime import MessageError, OutgoingMessage, build_message
from notify.render import Renderer
from tickets.numbers import format_number

#: The context key of the link that unsubscribes the recipient, in mailings that have one.
UNSUBSCRIBE_LINK: Final = "unsubscribe_link"
NOT_RENDERABLE = Reason("not_renderable", "The mail could not be built from its template")
UNUSABLE_ADDRESS = Reason("unusable_address", "Mail cannot be sent to this address")


class MessageBuilder:
    """Builds messages from deliveries. Safe to share between threads."""

    def __init__(self, settings: Settings, renderer: Renderer, signer: Signer) -> None:
        self._settings = settings
        self._renderer = renderer
        self._signer = signer

    def build(self, delivery: ClaimedDelivery, now: datetime) -> ClaimedDelivery:
        """Return ``delivery`` with its message and Message-ID.

        Raises RenderError for a fault of the templates, MessageError for an address that cannot be used, and any exception
        that a damaged context causes.
        """
        notices = self._settings.notices
        mailing = find_mailing_type(delivery.mailing)
        # Signed, so that a reply or bounce that names it proves which delivery it is about.
        message_id = self._signer.message_id(f"t{delivery.ticket_id or 0}.d{delivery.id}")
        context = self._build_context(delivery)
        rendered = self._renderer.render(mailing.template, context)
        message = OutgoingMessage(
            from_address=notices.from_address,
            # A staff message shows its writer's name before the team's.
            from_name=", ".join(filter(None, (str(context.get("writer", "")), notices.sender_name))),
            to_address=delivery.recipient,
            subject=rendered.subject,
            date=now,
            message_id=message_id,
            text=rendered.text,
            html=rendered.html,
            loop=notices.domain,
            reply_to=self._reply_to(delivery),
            in_reply_to=str(delivery.context.get("in_reply_to", "")),
            references=tuple(delivery.context.get("references", ())),
            automatic=not mailing.is_staff_written,
            unsubscribe=str(context.get(UNSUBSCRIBE_LINK, "")),
        )
        return replace(delivery, message_id=message_id, frozen=build_message(message))

    def envelope_sender(self, delivery: ClaimedDelivery) -> str:
        """Return the signed address that bounces and automatic answers come back to (RFC 3834 §4)."""
        return self._signer.envelope_sender(f"t{delivery.ticket_id or 0}.d{delivery.id}")

    def _reply_to(self, delivery: ClaimedDelivery) -> str:
        # With plus addressing a reply names its ticket even where the mail program drops every thread header.
        notices = self._settings.notices
        signed = notices.plus_addressing and delivery.outside and delivery.ticket_id is not None
        return self._signer.reply_address(f"t{delivery.ticket_id}") if signed else notices.reply_to

    def _build_context(self, delivery: ClaimedDelivery) -> dict[str, object]:
        """Return the stored context with datetimes, links, the team's name, and the ticket's number if it has a ticket."""
        mailing = find_mailing_type(delivery.mailing)
        datetimes = {
            key: datetime.fromisoformat(delivery.context[key]) for key in mailing.datetime_keys if key in delivery.context
        }
        numbered = {"number": format_number(delivery.ticket_id)} if delivery.ticket_id is not None else {}
        team = {"team_name": self._settings.notices.sender_name}
        return {**delivery.context, **self._build_links(delivery, mailing.link), **numbered, **team, **datetimes}

    def _build_links(self, delivery: ClaimedDelivery, target: LinkTarget) -> dict[str, str]:
        base = self._settings.web.base_url.rstrip("/")
        match target:
            case LinkTarget.CASE:
                return {"link": f"{base}/care/cases/{self._signer.link(f't{delivery.ticket_id}')}"}
            case LinkTarget.SURVEY:
                survey_id, surveys = delivery.context["survey_id"], f"{base}/care/surveys"
                answer, unsubscribe = self._signer.link(f"s{survey_id}"), self._signer.link(f"u{survey_id}")
                return {"link": f"{surveys}/{answer}", UNSUBSCRIBE_LINK: f"{surveys}/unsubscribe/{unsubscribe}"}
            case LinkTarget.TICKET:
                return {"link": f"{base}/desk/tickets/{format_number(delivery.ticket_id or 0)}"}
            case LinkTarget.DESK:
                return {"link": f"{base}/desk"}


def failure_reason(error: Exception) -> Reason:
    """Return why a message could not be built. The sentence holds nothing of its content."""
    return UNUSABLE_ADDRESS if isinstance(error, MessageError) and error.field == "to" else NOT_RENDERABLE
