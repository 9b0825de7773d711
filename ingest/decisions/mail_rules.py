"""Mail rules: what the configuration says of mail from one source. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from core.reasons import Reason
from core.settings import Settings
from core.settings.sections import Mailbox
from core.signing import Signer
from ingest.ledger.types import Source

#: Why old mail gets no automatic answer (mail-rules.md, Never start a loop).
IMPORTED_HISTORY = Reason("imported_history", "It is old mail that was imported later, so no automatic mail is sent about it")

#: Returns what a signed text says when it carries our signature, else None.
TokenVerifier = Callable[[str], str | None]


def _verify_nothing(_value: str) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class MailRules:
    """The rules for mail from one source.

    ``lists`` and ``automatic`` are the dispositions configured for such mail. The four verifiers read our own signatures: in
    Message-IDs, in bounce addresses, in reply addresses and in links. With ``is_history``, no sender gets an automatic answer.
    """

    own_addresses: frozenset[str]
    own_domain: str
    never_answer: frozenset[str]
    lists: str = "list"
    automatic: str = "ticket"
    category: str = ""
    secure_senders: frozenset[str] = frozenset()
    forwarders: frozenset[str] = frozenset()
    authserv_id: str = ""
    bounce_days: int = 60
    is_history: bool = False
    verify_message_id: TokenVerifier = _verify_nothing
    verify_envelope_sender: TokenVerifier = _verify_nothing
    verify_reply_address: TokenVerifier = _verify_nothing
    verify_link: TokenVerifier = _verify_nothing


def rules_for(settings: Settings, source: str, signer: Signer | None = None) -> MailRules:
    """Return the rules for mail from ``source`` (the text of a :class:`Source`); without ``signer`` nothing counts as signed."""
    origin = Source.parse(source)
    mailbox: Mailbox | None = settings.mailboxes.get(origin.name) if origin.kind == "mailbox" else None
    notices = settings.notices
    own = {notices.from_address, notices.reply_to, *notices.own_addresses}
    own |= {m.address or m.user.lower() for m in settings.mailboxes.values()}
    return MailRules(
        own_addresses=frozenset(own - {""}),
        own_domain=notices.domain,
        never_answer=frozenset(notices.never_answer),
        lists=mailbox.lists if mailbox else "list",
        automatic=mailbox.automatic if mailbox else "ticket",
        category=mailbox.category if mailbox else "",
        secure_senders=frozenset(mailbox.secure_senders) if mailbox else frozenset(),
        forwarders=frozenset(settings.routing.forwarders),
        authserv_id=mailbox.authserv_id if mailbox else "",
        bounce_days=notices.bounce_days,
        verify_message_id=signer.verify_message_id if signer else _verify_nothing,
        verify_envelope_sender=signer.verify_envelope_sender if signer else _verify_nothing,
        verify_reply_address=signer.verify_reply_address if signer else _verify_nothing,
        verify_link=signer.verify_link if signer else _verify_nothing,
    )
