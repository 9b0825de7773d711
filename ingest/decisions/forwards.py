"""Whose ticket a forward is: the original sender's, when staff or a configured forwarder sent it on (mail-rules.md, Content).

Pure. A customer's own forward stays the customer's. Only the database knows who is staff: for every other forwarder the
submission carries the original sender's version beside it, and intake chooses.
"""

from __future__ import annotations

from dataclasses import replace

from core.reasons import Reason
from ingest.decisions.mail_rules import IMPORTED_HISTORY, MailRules
from ingest.parsers.mail.automatic import is_no_reply
from ingest.parsers.types import Forward, ParsedMail
from tickets.submission import Submission, SubmittedFile

#: Code of the reason why the ticket belongs to the original sender and not to the forwarder.
FORWARDED = "forwarded"
#: Characters of each detail of a forward that the timeline shows; the mail itself is stored whole.
MAX_FORWARD_NOTE_CHARS = 4_000


def with_original(submission: Submission, mail: ParsedMail, files: tuple[SubmittedFile, ...], rules: MailRules) -> Submission:
    """Return the submission with the original sender taken into account.

    From a configured forwarder it becomes the original sender's; from any other it stays the forwarder's, with the original
    sender's version in ``original``. ``files`` are those that came with the original.
    """
    forward, forwarder = mail.forward, mail.from_addr
    if forward is None or forwarder is None or forward.from_addr in (None, forwarder, *rules.own_addresses):
        return submission
    original = _as_original_sender(submission, mail, forward, files, rules)
    if {forwarder, forwarder.rpartition("@")[2]} & rules.forwarders:
        return original
    return replace(submission, original=original)


def _as_original_sender(
    submission: Submission, mail: ParsedMail, forward: Forward, files: tuple[SubmittedFile, ...], rules: MailRules
) -> Submission:
    reason = Reason(FORWARDED, f"{mail.from_addr} forwarded it; the ticket belongs to the original sender, {forward.from_addr}")
    details = (("forwarded by", mail.from_addr or ""), ("sent", forward.date or ""), ("forwarder's words", forward.message))
    body = forward.body.strip()
    return replace(
        submission,
        email=forward.from_addr,
        name=forward.from_name or "",
        subject=forward.subject or submission.subject,
        text=body or submission.text,
        files=(*submission.files, *files),
        missing=() if body else ("the forwarded mail has no text",),
        reasons=(*submission.reasons, reason),
        silence=_silence(mail, forward.from_addr or "", rules),
        details=(*submission.details, *((name, value[:MAX_FORWARD_NOTE_CHARS]) for name, value in details if value)),
    )


def _silence(mail: ParsedMail, address: str, rules: MailRules) -> Reason | None:
    """Return why the original sender gets no automatic answer, None when they may get one."""
    if mail.is_auto:
        return Reason("automatic_mail", "It was forwarded automatically")
    if rules.is_history:
        return IMPORTED_HISTORY
    local, _, domain = address.rpartition("@")
    if is_no_reply(local):
        return Reason("no_reply", "The original sender's address takes no replies")
    if address in rules.never_answer or domain in rules.never_answer:
        return Reason("never_answer", "The original sender is on the never-answer list")
    return None
