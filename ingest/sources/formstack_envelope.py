"""The envelope of a Formstack post: its two ids, the shared secret, and the signature (Formstack webhook setup).

The webhook takes the shared secret out of the body here, before anything is stored.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field

from ingest.parsers.form.members import PLAIN_DECODER, is_handshake_key, join_members, read_body, read_ids
from ingest.parsers.types import Refusal


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the webhook must know before it stores: both ids (digits), the shared secret, the body without it.

    ``stored`` is the body as it came when it held no secret. Secret and body stay out of the repr.
    """

    form_id: str
    submission_id: str
    handshake_key: str | None = field(repr=False)
    stored: bytes = field(repr=False)


def verify_signature(keys: Sequence[bytes], body: bytes, header: str | bytes | None) -> bool:
    """Whether ``header`` is ``sha256=`` + lowercase hex HMAC-SHA256 of the raw ``body`` under one of ``keys``.

    Several keys are accepted while rotating; without a (non-empty) key nothing verifies. Compared in constant time
    as bytes, because a str with non-ASCII raises; every key is tried, so that time does not tell which one fitted.
    """
    given = header.encode("utf-8", "replace") if isinstance(header, str) else header or b""
    fits = False
    for key in filter(None, keys):
        wanted = b"sha256=" + hmac.digest(key, body, "sha256").hex().encode()
        fits |= hmac.compare_digest(wanted, given)
    return fits


def split_envelope(data: bytes, content_type: str) -> Envelope | Refusal:
    """Both ids, the shared secret and the body with the secret's member cut out; the rest stays byte for byte.

    Refusals: ``unsupported_content_type``, ``not_utf8``, ``bad_json``, ``bad_form``, ``too_deep``,
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
