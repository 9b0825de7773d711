"""Read the envelope of a Formstack post: its two ids, the shared secret, and the signature (Formstack webhook setup).

The shared secret is removed from the body before anything is stored.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field

from ingest.parsers.form.members import PLAIN_DECODER, is_handshake_key, join_members, read_body, read_ids
from ingest.parsers.types import Refusal


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the webhook needs before it stores a post: both ids (digits), the shared secret, and the body without it.

    ``stored`` is the body without the secret, byte for byte. Secret and body are left out of the repr.
    """

    form_id: str
    submission_id: str
    handshake_key: str | None = field(repr=False)
    stored: bytes = field(repr=False)

    @property
    def identity(self) -> str:
        return submission_identity(self.form_id, self.submission_id)


def submission_identity(form_id: str, submission_id: str) -> str:
    """Return the identity of a submission in the ledger, which is the same from webhook, backfill and file."""
    return f"{form_id}/{submission_id}"


def verify_signature(keys: Sequence[bytes], body: bytes, header: str | bytes | None) -> bool:
    """Return whether ``header`` is ``sha256=`` + lowercase hex HMAC-SHA256 of the raw ``body`` under one of ``keys``.

    Several keys are accepted during a rotation. Without a key that is not empty, no header verifies.
    """
    # As bytes, because compare_digest raises on a str with non-ASCII characters.
    received = header.encode("utf-8", "replace") if isinstance(header, str) else header or b""
    verifies = False
    # Every key is tried, so that the time does not reveal which one matched.
    for key in filter(None, keys):
        expected = b"sha256=" + hmac.digest(key, body, "sha256").hex().encode()
        verifies |= hmac.compare_digest(expected, received)
    return verifies


def split_envelope(data: bytes, content_type: str) -> Envelope | Refusal:
    """Return both ids, the shared secret and the body without the secret; the rest of the body stays byte for byte.

    Refusal codes: ``unsupported_content_type``, ``not_utf8``, ``bad_json``, ``bad_form``, ``too_deep``,
    ``too_many_fields``, ``duplicate_key`` (of an envelope key), ``no_form_id``, ``no_submission_id``,
    ``bad_handshake``.
    """
    read = read_body(data, content_type, PLAIN_DECODER)
    if isinstance(read, Refusal):
        return read
    members, is_json = read
    secrets = [member for member in members if is_handshake_key(member.key)]
    ids = read_ids(members, secrets)
    if isinstance(ids, Refusal):
        return ids
    if any(not isinstance(member.value, str) for member in secrets):
        return Refusal("bad_handshake", "The handshake key is not a string.")
    stored = join_members([m for m in members if m is not secrets[0]], is_json) if secrets else data
    return Envelope(*ids, str(secrets[0].value) if secrets else None, stored)
