"""The table of mailing types: one row for each kind of mail that casemill sends.

A new mailing is one row here and one folder of templates (docs/adding-a-mailing.md). The names are stored in
``delivery.mailing`` and in the payload of :class:`NoticeSettled`, so a name never changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from core.reasons import Reason
from outbox.facts import NoticeSettled
from tickets import staff_messages
from tickets.follow_ups import ESCALATION as ESCALATION_RULE
from tickets.follow_ups import REMINDER as REMINDER_RULE


class Audience(Enum):
    """Who receives a mailing. The rate limits count mail to customers only."""

    CUSTOMER = "customer"
    STAFF = "staff"


class LinkTarget(Enum):
    """The page that ``link`` in the templates opens."""

    CASE = "case"
    TICKET = "ticket"
    SURVEY = "survey"
    DESK = "desk"


@dataclass(frozen=True, slots=True)
class MailingType:
    """One kind of mail.

    - ``template``: its folder in ``templates/email``.
    - ``datetime_keys``: context keys that hold an ISO 8601 datetime with an offset. The templates get an aware datetime.
    - ``may_repeat``: whether a delivery with an ambiguous outcome is sent once more (reliability.md, promise 3). True only
      where a second copy does less harm than none.
    - ``is_staff_written``: whether a member of staff wrote the text. Such mail is not automatic (RFC 3834 §2), and only
      blocked addresses stop it, not the limits.
    - ``task_rule``: the rule of :class:`TaskRaised` that sends this mailing.
    - ``message_kind``: the kind of staff message that this mailing carries.
    - ``outcome_fact``: the fact appended with the final outcome; None where no subscriber reads it.
    """

    name: str
    template: str
    audience: Audience
    link: LinkTarget
    datetime_keys: tuple[str, ...] = ()
    may_repeat: bool = False
    is_staff_written: bool = False
    task_rule: str = ""
    message_kind: str = ""
    outcome_fact: type[NoticeSettled] | None = NoticeSettled


CREATED: Final = "ticket_created"
ASSIGNED: Final = "ticket_assigned"
REMINDER: Final = "follow_up_reminder"
ESCALATION: Final = "escalation"
STAFF_REPLY: Final = "staff_reply"
RECAP: Final = "recap_of_resolution"
ASK_FOR_MORE: Final = "ask_for_more"
SURVEY_INVITATION: Final = "survey_invitation"
SURVEY_ANSWERED: Final = "survey_answered"
DIGEST: Final = "digest"


def _customer_notice(name: str, link: LinkTarget, **columns: Any) -> MailingType:
    return MailingType(name, name, Audience.CUSTOMER, link, **columns)


def _staff_message(name: str, kind: str, **columns: Any) -> MailingType:
    columns |= {"is_staff_written": True, "message_kind": kind}
    return MailingType(name, name, Audience.CUSTOMER, LinkTarget.CASE, **columns)


def _staff_notice(name: str, **columns: Any) -> MailingType:
    return MailingType(name, name, Audience.STAFF, LinkTarget.TICKET, outcome_fact=None, **columns)


_ROWS: Final = (
    _customer_notice(CREATED, LinkTarget.CASE, datetime_keys=("received_at",), may_repeat=True),
    _customer_notice(SURVEY_INVITATION, LinkTarget.SURVEY),
    _staff_message(STAFF_REPLY, staff_messages.REPLY),
    _staff_message(RECAP, staff_messages.RECAP_MESSAGE, may_repeat=True),
    _staff_message(ASK_FOR_MORE, staff_messages.QUESTION),
    _staff_notice(ASSIGNED),
    _staff_notice(REMINDER, datetime_keys=("opened_at",), task_rule=REMINDER_RULE),
    _staff_notice(ESCALATION, datetime_keys=("opened_at",), task_rule=ESCALATION_RULE),
    _staff_notice(SURVEY_ANSWERED),
    MailingType(DIGEST, DIGEST, Audience.STAFF, LinkTarget.DESK),
)
#: Name → row.
MAILING_TYPES: Final = {row.name: row for row in _ROWS}


def find_mailing_type(name: str) -> MailingType:
    """Return the row of a mailing.

    A name without a row gets the cautious values of a notice to a customer: after a downgrade the table ``delivery`` can
    hold mailings of the newer version, and they must not stop the recovery of the others. Only their rendering fails.
    """
    return MAILING_TYPES.get(name) or _customer_notice(name, LinkTarget.CASE)


def list_staff_written() -> list[str]:
    """Return the names of the mailings whose text a member of staff wrote."""
    return [row.name for row in MAILING_TYPES.values() if row.is_staff_written]


def mailing_for_task(rule: str) -> str:
    """Return the mailing that reports a task raised by ``rule``. Raises KeyError for a rule without one."""
    return {row.task_rule: row.name for row in MAILING_TYPES.values() if row.task_rule}[rule]


def mailing_for_message(kind: str) -> str:
    """Return the mailing that carries a staff message of ``kind``. Raises KeyError for a kind without one."""
    return {row.message_kind: row.name for row in MAILING_TYPES.values() if row.message_kind}[kind]


def make_outcome_facts(delivery: Any, outcome: str, reason: Reason) -> list[NoticeSettled]:
    """Return the fact that ``delivery`` has its final ``outcome``, or none where the mailing has no outcome fact.

    ``delivery`` is a row or anything with its columns ``id``, ``ticket_id``, ``mailing`` and ``recipient``.
    """
    fact = find_mailing_type(delivery.mailing).outcome_fact
    if fact is None:
        return []
    return [fact(delivery.ticket_id, delivery.id, delivery.mailing, outcome, reason.code, reason.text, delivery.recipient)]
