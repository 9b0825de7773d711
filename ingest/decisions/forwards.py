"""Whose ticket a forward is: the original sender's, when staff or a configured forwarder sent it on (mail-rules.md, Content).

Pure. A customer's own forward stays theirs. Who is staff is known to the database alone, so that for all others the submission
as it would be for the original sender goes along, and intake chooses.
"""

from __future__ import annotations

from dataclasses import replace

from core.reasons import Reason
from ingest.decisions.mail_rules import HISTORY, MailRules
from ingest.parsers.mail.automatic import is_no_reply
from ingest.parsers.types import Forward, ParsedMail
from tickets.submission import Submission, SubmittedFile

#: Code of the reason why a ticket is not the sender's.
FORWARDED = "forwarded"
#: Characters of what the forwarder wrote above the original that are shown on the timeline; the mail itself is kept.
LONGEST_MESSAGE = 4_000


def with_original(submission: Submission, mail: ParsedMail, files: tuple[SubmittedFile, ...], rules: MailRules) -> Submission:
    """The submission for the original sender, or the forwarder's with that one beside it; ``files`` came with the original."""
    forward, forwarder = mail.forward, mail.from_addr
    if forward is None or forwarder is None or forward.from_addr in (None, forwarder, *rules.own_addresses):
        return submission
    original = _original(submission, mail, forward, files, rules)
    if {forwarder, forwarder.rpartition("@")[2]} & rules.forwarders:
        return original
    return replace(submission, original=original)


def _original(
    submission: Submission, mail: ParsedMail, forward: Forward, files: tuple[SubmittedFile, ...], rules: MailRules
) -> Submission:
    reason = Reason(FORWARDED, f"{mail.from_addr} forwarded it; the ticket belongs to whom it came from, {forward.from_addr}")
    told = (("forwarded by", mail.from_addr or ""), ("sent", forward.date or ""), ("forwarder's words", forward.message))
    wrote = forward.body.strip()
    return replace(
        submission,
        email=forward.from_addr,
        name=forward.from_name or "",
        subject=forward.subject or submission.subject,
        text=wrote or submission.text,
        files=(*submission.files, *files),
        missing=() if wrote else ("the forwarded mail has no text",),
        reasons=(*submission.reasons, reason),
        silence=_silence(mail, forward.from_addr or "", rules),
        details=(*submission.details, *((name, value[:LONGEST_MESSAGE]) for name, value in told if value)),
    )


def _silence(mail: ParsedMail, address: str, rules: MailRules) -> Reason | None:
    """Why the original sender gets no automatic answer."""
    if mail.is_auto:
        return Reason("automatic_mail", "A machine forwarded it")
    if rules.history:
        return HISTORY
    local, _, domain = address.rpartition("@")
    if is_no_reply(local):
        return Reason("no_reply", "The original sender takes no replies")
    if address in rules.never_answer or domain in rules.never_answer:
        return Reason("never_answer", "The original sender is on the list of those never answered")
    return None
