"""Read the top-level members of a form body, JSON or urlencoded, each with its exact text.

The webhook's envelope and the parser of stored forms share this module. It accepts any bytes: an unreadable body is a
``Refusal``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import partial
from json import JSONDecodeError
from typing import NamedTuple
from urllib.parse import unquote_plus

from ingest.parsers.types import Refusal

MAX_FIELDS = 2_000
MAX_ID_DIGITS = 20

_SPACE = re.compile(r"[ \t\n\r]*")
#: A name without escapes and its colon; the character after a member (RFC 8259 §2, §4, §7).
_NAME = re.compile(r'"([^"\\\x00-\x1f]*)"[ \t\n\r]*:[ \t\n\r]*')
_MEMBER_END = re.compile(r"[ \t\n\r]*([,}])[ \t\n\r]*")
_NON_LETTERS = re.compile(r"[^a-z]+")
_HANDSHAKE_KEY = "handshakekey"
_CHARSET = re.compile(r"charset\s*=\s*\"?([\w.:-]+)", re.IGNORECASE)
_FORM_TYPE = "application/x-www-form-urlencoded"


class BodyMember(NamedTuple):
    """One top-level key of a body, with its value and its exact text."""

    key: str
    value: object
    raw: str


def read_body(data: bytes, content_type: str | None, decoder: json.JSONDecoder) -> tuple[list[BodyMember], bool] | Refusal:
    """Return the top-level members and whether the body is JSON; ``decoder`` reads JSON values."""
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


def _read_urlencoded(text: str) -> list[BodyMember]:
    pieces = [piece for piece in text.strip("\r\n").split("&") if piece]
    if not any("=" in piece for piece in pieces):
        raise ValueError("no pair")
    members = []
    for piece in pieces:
        name, _, value = piece.partition("=")
        key, answer = unquote_plus(name, errors="strict"), unquote_plus(value, errors="strict")
        members.append(BodyMember(key, answer, piece))
    return members


def _refuse_constant(name: str) -> object:
    raise ValueError(name)


# Numbers stay texts: an id keeps all its digits, and no integer is long enough to be slow or refused.
make_decoder = partial(json.JSONDecoder, parse_int=str, parse_float=str, parse_constant=_refuse_constant)
PLAIN_DECODER = make_decoder()


def _read_json(text: str, decoder: json.JSONDecoder) -> list[BodyMember]:
    """Return the members of the outermost object. They are read one by one to keep the exact text of each."""
    members: list[BodyMember] = []
    at = _expect(text, 0, "{")
    if text[at : at + 1] == "}":
        _expect_end(text, at + 1)
        return members
    while True:
        start = at
        key, at = _read_name(text, at)
        value, at = decoder.raw_decode(text, at)
        members.append(BodyMember(key, value, text[start:at]))
        member_end = _MEMBER_END.match(text, at)
        if member_end is None:
            raise JSONDecodeError("unexpected", text, at)
        at = member_end.end()
        if member_end[1] == "}":
            _expect_end(text, at)
            return members


def _read_name(text: str, at: int) -> tuple[str, int]:
    """Return the name of a member and the offset of its value."""
    name = _NAME.match(text, at)
    if name is not None:
        return name[1], name.end()
    if text[at : at + 1] != '"':
        raise JSONDecodeError("no key", text, at)
    key, at = PLAIN_DECODER.raw_decode(text, at)
    return key, _expect(text, at, ":")


def _expect_end(text: str, at: int) -> None:
    if _skip_space(text, at) != len(text):
        raise JSONDecodeError("more after the object", text, at)


def _skip_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _expect(text: str, at: int, mark: str) -> int:
    """Return the offset after ``mark`` and the space around it. Raises JSONDecodeError for another character."""
    at = _skip_space(text, at)
    if text[at : at + 1] != mark:
        raise JSONDecodeError("unexpected", text, at)
    return _skip_space(text, at + 1)


def join_members(members: Sequence[BodyMember], is_json: bool) -> bytes:
    """Return the body made of the exact texts of ``members``."""
    texts = [member.raw for member in members]
    text = "{" + ",".join(texts) + "}" if is_json else "&".join(texts)
    return text.encode()


def is_handshake_key(key: str) -> bool:
    """Whether a key is the handshake key in any spelling: an unusual spelling must not get the secret stored."""
    return len(key) >= len(_HANDSHAKE_KEY) and _NON_LETTERS.sub("", key.lower()) == _HANDSHAKE_KEY


def is_number(text: str) -> bool:
    """Whether a text consists of ASCII digits."""
    return text.isascii() and text.isdigit()


def read_ids(members: Sequence[BodyMember], secrets: Sequence[BodyMember]) -> tuple[str, str] | Refusal:
    """Return FormID and UniqueID. Both must be digits: they are used in links, keys and file names."""
    form_id = _find_once(members, "FormID")
    submission_id = _find_once(members, "UniqueID")
    if len(secrets) > 1 or form_id is None or submission_id is None:
        return Refusal("duplicate_key", "FormID, UniqueID or HandshakeKey comes more than once.")
    if not is_number(form_id) or len(form_id) > MAX_ID_DIGITS:
        return Refusal("no_form_id", "The form has no FormID made of digits.")
    if not is_number(submission_id) or len(submission_id) > MAX_ID_DIGITS:
        return Refusal("no_submission_id", "The form has no UniqueID made of digits.")
    return form_id, submission_id


def _find_once(members: Sequence[BodyMember], key: str) -> str | None:
    """Return the value of ``key``: "" when it is missing or not a string, None when it occurs more than once."""
    values = [member.value for member in members if member.key == key]
    if len(values) > 1:
        return None
    return values[0] if values and isinstance(values[0], str) else ""
