"""What the configuration says of mail from one source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from core.reasons import Reason
from core.settings import Settings
from core.settings.sections import Mailbox
from core.signing import Signer

#: Why nobody is written to about mail of the past (mail-rules.md, Never start a loop).
HISTORY = Reason("imported_history", "It is mail of the past that was taken in later: nobody is written to about it")


Reader = Callable[[str], str | None]


def _nothing(_value: str) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class MailRules:
    """What the configuration says of mail from one source.

    ``own_token`` reads our own signed Message-IDs, ``own_envelope`` our bounce addresses, ``own_reply`` our reply addresses
    and ``own_link`` the signed part of our links; each answers None for what is not ours. ``history`` holds for mail of the
    past, whoever wrote it.
    """

    own_addresses: frozenset[str]
    own_domain: str
    never_answer: frozenset[str]
    lists: str = "list"
    automatic: str = "ticket"
    category: str = ""
    secure_senders: frozenset[str] = frozenset()
    forwarders: frozenset[str] = frozenset()
    workbook_columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    workbook_passwords: tuple[str, ...] = ()
    authserv_id: str = ""
    bounce_days: int = 60
    history: bool = False
    own_token: Reader = _nothing
    own_envelope: Reader = _nothing
    own_reply: Reader = _nothing
    own_link: Reader = _nothing


def rules_for(settings: Settings, source: str, signer: Signer | None = None) -> MailRules:
    """The rules for mail from ``source`` (``mailbox:NAME``, ``folder:NAME`` or ``upload``)."""
    kind, _, name = source.partition(":")
    mailbox: Mailbox | None = settings.mailboxes.get(name) if kind == "mailbox" else None
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
        workbook_columns={k: tuple(v) for k, v in mailbox.workbooks.columns.items()} if mailbox else {},
        workbook_passwords=tuple(p.get_secret_value() for p in mailbox.workbooks.passwords) if mailbox else (),
        authserv_id=mailbox.authserv_id if mailbox else "",
        bounce_days=notices.bounce_days,
        own_token=signer.verify_message_id if signer else _nothing,
        own_envelope=signer.verify_envelope_sender if signer else _nothing,
        own_reply=signer.verify_reply_address if signer else _nothing,
        own_link=signer.verify_link if signer else _nothing,
    )
