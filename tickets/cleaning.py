"""What a database cannot keep is taken out of a submission at the door, whatever source it came from.

PostgreSQL refuses NUL, UTF-8 has no lone surrogates, and an index entry has a size: one such character must cost a character,
not the item.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

from core.reasons import Reason
from tickets.submission import Submission, SubmittedFile

#: RFC 5321 §4.5.3.1.3: a path has at most 256 octets, its angle brackets included.
LONGEST_ADDRESS = 254
LONGEST_LINE, LONGEST_SUBJECT, LONGEST_NAME = 300, 998, 255
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")


def cleaned(submission: Submission) -> Submission:
    """The submission with storable texts and short values short; what was left out is listed as missing."""
    email = _address(submission.email)
    missing = tuple(_text(line) for line in submission.missing)
    if submission.email and email is None:
        missing += ("the sender's address is longer than an address can be",)
    return replace(
        submission,
        name=_line(submission.name),
        phone=_line(submission.phone),
        company=_line(submission.company),
        account_number=_line(submission.account_number),
        category=_line(submission.category),
        issue=_line(submission.issue),
        issue_detail=_line(submission.issue_detail),
        preferred_contact=_line(submission.preferred_contact),
        subject=_text(submission.subject)[:LONGEST_SUBJECT],
        text=_text(submission.text),
        quoted=_text(submission.quoted),
        signature=_text(submission.signature),
        email=email,
        link=_text(submission.link) if submission.link else None,
        files=tuple(_file(file) for file in submission.files),
        missing=missing,
        reasons=tuple(Reason(reason.code, _text(reason.text)) for reason in submission.reasons),
        silence=Reason(submission.silence.code, _text(submission.silence.text)) if submission.silence else None,
        thread_key=_key(submission.thread_key) if submission.thread_key else None,
        contacts=tuple(contact for contact in map(_address, submission.contacts) if contact),
        details=tuple((_text(name), _text(value)) for name, value in submission.details),
    )


def _text(value: str) -> str:
    return _UNSTORABLE.sub(_REPLACEMENT, value)


def _line(value: str) -> str:
    return _text(value)[:LONGEST_LINE]


def _address(value: str | None) -> str | None:
    """None for what cannot be an address: it would be another one if it were cut."""
    if not value or _UNSTORABLE.search(value) or len(value.encode()) > LONGEST_ADDRESS:
        return None
    return value


def _key(value: str) -> str:
    """A long key becomes its hash, which is as good to find a thread by."""
    text = _text(value)
    return text if len(text) <= LONGEST_LINE else f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _file(file: SubmittedFile) -> SubmittedFile:
    sniffed = _line(file.sniffed) if file.sniffed else None
    return replace(file, name=_text(file.name)[-LONGEST_NAME:], type=_line(file.type), sniffed=sniffed)
