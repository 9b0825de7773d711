"""The fingerprint key of a mail: equal for two copies that differ only in trace headers. Pure."""

from __future__ import annotations

import hashlib

from ingest.parsers.types import ParsedMail


def fingerprint_key(mail: ParsedMail) -> str | None:
    """Return the key of a mail: a hash of its Message-ID and its content.

    Returns None for a mail with neither Message-ID nor Date: two people may write the same words.
    """
    if mail.message_id is None and mail.date is None:
        return None
    return hashlib.sha256(f"{mail.message_id}\0{mail.fingerprint}".encode()).hexdigest()
