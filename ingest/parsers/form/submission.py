"""A Formstack submission, from the webhook's body or a saved file, JSON or urlencoded (Formstack webhook setup).

:func:`split_envelope` and :func:`verify_signature` serve the webhook: they take the shared secret out of the body
before anything is stored. :func:`parse_form` reads what was stored. All three are total on any bytes.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from json import JSONDecodeError
from typing import NamedTuple
from urllib.parse import unquote_plus

from ingest.parsers.form.values import clean_text, find_depth, read_answer
from ingest.parsers.types import FormField, ParsedForm, ParseOptions, Refusal

MAX_FIELDS = 2_000
MAX_DEPTH = 8
MAX_ID_DIGITS = 20
LABEL_NOTE = (
    "The fields are keyed by their labels: two fields of one label collapse to the last before they are sent. "
    "Set the webhook to send field ids and give a label map."
)
REPEATED_NOTE = "A field came more than once; all its answers are kept."

_SPACE = re.compile(r"[ \t\n\r]*")
#: A name without escapes and its colon; what stands behind a member (RFC 8259 §2, §4, §7).
_NAME = re.compile(r'"([^"\\\x00-\x1f]*)"[ \t\n\r]*:[ \t\n\r]*')
_BEHIND = re.compile(r"[ \t\n\r]*([,}])[ \t\n\r]*")
_NO_LETTER = re.compile(r"[^a-z]+")
_HANDSHAKE = "handshakekey"
_CHARSET = re.compile(r"charset\s*=\s*\"?([\w.:-]+)", re.IGNORECASE)
_FORM_TYPE = "application/x-www-form-urlencoded"


class _Member(NamedTuple):
    """One top-level key with its value and the exact text it came as."""

    key: str
    value: object
    raw: str


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
    read = _read_body(data, content_type, _PLAIN)
    if isinstance(read, Refusal):
        return read
    members, is_json = read
    secrets = [member for member in members if _is_secret(member.key)]
    ids = _read_ids(members, secrets)
    if isinstance(ids, Refusal):
        return ids
    if any(not isinstance(member.value, str) for member in secrets):
        return Refusal("bad_handshake", "The handshake key is not a string.")
    stored = _join_members([m for m in members if m is not secrets[0]], is_json) if secrets else data
    return Envelope(*ids, str(secrets[0].value) if secrets else None, stored)


def parse_form(data: bytes, options: ParseOptions) -> ParsedForm | Refusal:
    """The submission as fields in the order they came; the handshake key is never in the result.

    ``options.content_type`` decides between JSON and urlencoded, None sniffs. Refusals as in
    :func:`split_envelope`; what had to be mended is said in ``notes``.
    """
    read = _read_body(data, options.content_type, _MERGING)
    if isinstance(read, Refusal):
        return read
    members, is_json = read
    secrets = [member for member in members if _is_secret(member.key)]
    ids = _read_ids(members, secrets)
    if isinstance(ids, Refusal):
        return ids
    fields = [m for m in members if m.key not in ("FormID", "UniqueID") and m not in secrets]
    if any(find_depth(member.value) > MAX_DEPTH for member in fields):
        return Refusal("too_deep", f"A field's value is nested deeper than {MAX_DEPTH} levels.")
    answers, repeated = _collect_answers(fields)
    repeated = repeated or (is_json and _has_repeated_keys(data))
    notes = [LABEL_NOTE] if any(not _is_number(key) for key in answers) else []
    notes += [REPEATED_NOTE] if repeated else []
    return ParsedForm(*ids, tuple(_make_field(key, value) for key, value in answers.items()), tuple(notes))


def _make_field(key: str, value: object) -> FormField:
    answer = read_answer(value)
    return FormField(key=key, text=answer.text, field_type=answer.field_type, parts=answer.parts)


def _collect_answers(members: Sequence[_Member]) -> tuple[dict[str, object], bool]:
    """Values by key in the order they came; a key that comes again makes a list, so that nothing is lost."""
    return _merge_pairs([(clean_text(member.key), member.value) for member in members])


def _merge_pairs(pairs: Sequence[tuple[str, object]]) -> tuple[dict[str, object], bool]:
    merged: dict[str, object] = {}
    repeated: dict[str, list[object]] = {}
    for key, value in pairs:
        if key in merged:
            merged[key] = repeated.setdefault(key, [merged[key]])
            repeated[key].append(value)
        else:
            merged[key] = value
    return merged, bool(repeated)


def _read_body(data: bytes, content_type: str | None, decoder: json.JSONDecoder) -> tuple[list[_Member], bool] | Refusal:
    """The top-level members and whether the body is JSON, of which ``decoder`` reads the values."""
    is_json = _choose_json(data, content_type)
    if isinstance(is_json, Refusal):
        return is_json
    try:
        text = data.decode("utf-8-sig")
        members = _read_json(text, decoder) if is_json else _read_urlencoded(text)
    except UnicodeDecodeError:
        return Refusal("not_utf8", "The form is not valid UTF-8.")
    except RecursionError:
        return Refusal("too_deep", "The form's JSON is nested too deep.")
    except ValueError:
        return _refuse_syntax(is_json)
    if len(members) > MAX_FIELDS:
        return Refusal("too_many_fields", f"The form has more than {MAX_FIELDS} fields.")
    return members, is_json


def _refuse_syntax(is_json: bool) -> Refusal:
    if is_json:
        return Refusal("bad_json", "The form is not a valid JSON object.")
    return Refusal("bad_form", "The form is not urlencoded: it has no key=value pair.")


def _choose_json(data: bytes, content_type: str | None) -> bool | Refusal:
    media, _, parameters = (content_type or "").partition(";")
    media = media.strip().lower()
    charset = _CHARSET.search(parameters)
    if charset and charset[1].lower() not in ("utf-8", "utf8", "us-ascii"):
        return Refusal("not_utf8", "The form is declared in another charset than UTF-8.")
    if not media:
        return data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")
    if media == "application/json" or media.endswith("+json"):
        return True
    if media == _FORM_TYPE:
        return False
    return Refusal("unsupported_content_type", f"A form is application/json or {_FORM_TYPE}.")


def _read_urlencoded(text: str) -> list[_Member]:
    pieces = [piece for piece in text.strip("\r\n").split("&") if piece]
    if not any("=" in piece for piece in pieces):
        raise ValueError("no pair")
    members = []
    for piece in pieces:
        name, _, value = piece.partition("=")
        key, answer = unquote_plus(name, errors="strict"), unquote_plus(value, errors="strict")
        members.append(_Member(key, answer, piece))
    return members


def _refuse_constant(name: str) -> object:
    raise ValueError(name)


# Numbers stay texts: an id keeps all its digits, and no integer is long enough to be slow or refused.
_make_decoder = partial(json.JSONDecoder, parse_int=str, parse_float=str, parse_constant=_refuse_constant)
_PLAIN = _make_decoder()
#: Keeps all values of a key that an object has twice.
_MERGING = _make_decoder(object_pairs_hook=lambda pairs: _merge_pairs(pairs)[0])


def _read_json(text: str, decoder: json.JSONDecoder) -> list[_Member]:
    """The members of the outermost object, walked one by one to have the exact text of each."""
    members: list[_Member] = []
    at = _expect(text, 0, "{")
    if text[at : at + 1] == "}":
        _expect_end(text, at + 1)
        return members
    while True:
        start = at
        key, at = _read_name(text, at)
        value, at = decoder.raw_decode(text, at)
        members.append(_Member(key, value, text[start:at]))
        behind = _BEHIND.match(text, at)
        if behind is None:
            raise JSONDecodeError("unexpected", text, at)
        at = behind.end()
        if behind[1] == "}":
            _expect_end(text, at)
            return members


def _read_name(text: str, at: int) -> tuple[str, int]:
    """A member's name and the place of its value."""
    name = _NAME.match(text, at)
    if name is not None:
        return name[1], name.end()
    if text[at : at + 1] != '"':
        raise JSONDecodeError("no key", text, at)
    key, at = _PLAIN.raw_decode(text, at)
    return key, _expect(text, at, ":")


def _expect_end(text: str, at: int) -> None:
    if _skip_space(text, at) != len(text):
        raise JSONDecodeError("more after the object", text, at)


def _skip_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _expect(text: str, at: int, mark: str) -> int:
    """The place after ``mark`` and the space around it."""
    at = _skip_space(text, at)
    if text[at : at + 1] != mark:
        raise JSONDecodeError("unexpected", text, at)
    return _skip_space(text, at + 1)


def _has_repeated_keys(data: bytes) -> bool:
    """Whether an object inside the (already valid) JSON holds a key twice."""
    seen: list[bool] = []

    def note(pairs: list[tuple[str, object]]) -> None:
        seen.append(len({key for key, _ in pairs}) < len(pairs))

    json.loads(data.decode("utf-8-sig"), object_pairs_hook=note, parse_int=str, parse_float=str)
    return any(seen)


def _join_members(members: Sequence[_Member], is_json: bool) -> bytes:
    kept = [member.raw for member in members]
    text = "{" + ",".join(kept) + "}" if is_json else "&".join(kept)
    return text.encode()


def _is_secret(key: str) -> bool:
    """The handshake key under any spelling: an unusual one must not be what gets the secret stored."""
    return len(key) >= len(_HANDSHAKE) and _NO_LETTER.sub("", key.lower()) == _HANDSHAKE


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _read_ids(members: Sequence[_Member], secrets: Sequence[_Member]) -> tuple[str, str] | Refusal:
    """FormID and UniqueID. Both must be digits: they stand in links, keys and file names."""
    form_id = _find_once(members, "FormID")
    submission_id = _find_once(members, "UniqueID")
    if len(secrets) > 1 or form_id is None or submission_id is None:
        return Refusal("duplicate_key", "FormID, UniqueID or HandshakeKey comes more than once.")
    if not _is_number(form_id) or len(form_id) > MAX_ID_DIGITS:
        return Refusal("no_form_id", "The form has no FormID made of digits.")
    if not _is_number(submission_id) or len(submission_id) > MAX_ID_DIGITS:
        return Refusal("no_submission_id", "The form has no UniqueID made of digits.")
    return form_id, submission_id


def _find_once(members: Sequence[_Member], key: str) -> str | None:
    """The value of ``key``: "" when missing or no string, None when it comes more than once."""
    values = [member.value for member in members if member.key == key]
    if len(values) > 1:
        return None
    return values[0] if values and isinstance(values[0], str) else ""
