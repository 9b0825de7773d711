"""The fingerprint key of a mail: the same for two copies that differ only in trace headers."""

from __future__ import annotations

import hashlib

from ingest.parsers.types import ParsedMail


def key_of(mail: ParsedMail) -> str | None:
    """The key of a mail; None when it has neither Message-ID nor Date to tell it from a mail written alike."""
    if mail.message_id is None and mail.date is None:
        return None
    return hashlib.sha256(f"{mail.message_id}\0{mail.fingerprint}".encode()).hexdigest()
