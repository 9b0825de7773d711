"""Run the mail corpus: each ``NAME.eml`` has its expected values in ``NAME.json``, only the keys that matter.

Besides the fields of ParsedMail there are ``body_has``, ``body_lacks``, ``quoted_has`` and ``notes_has`` (each a list),
``refusal`` (its code), and ``options`` for the parser. ``forward`` has the keys that matter and the names of its files. A
person wrote the expected values by reading the message.
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ingest.parsers.mail.message import parse_mail
from ingest.parsers.reply.split import split_reply
from ingest.parsers.types import Forward, ParsedMail, ParseOptions, Refusal

_FOLDER = Path(__file__).parent
_MESSAGES = sorted(_FOLDER.glob("*.eml"))


def _show(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return msgspec.json.decode(msgspec.json.encode(value)) if isinstance(value, tuple | msgspec.Struct) else value


def _pick(value: Any, expected: Any) -> Any:
    """Return only the expected keys of a structure."""
    return {key: value[key] for key in expected} if isinstance(value, dict) and isinstance(expected, dict) else value


def _check_attachments(mail: ParsedMail, expected: list[dict[str, Any]]) -> None:
    assert len(mail.attachments) == len(expected), [attachment.name for attachment in mail.attachments]
    for attachment, values in zip(mail.attachments, expected, strict=True):
        assert {key: getattr(attachment, key) for key in values} == values


def _check_forward(found: Forward | None, expected: dict[str, Any] | None) -> None:
    if expected is None or found is None:
        assert (found, expected) == (None, None)
        return
    assert [one.name for one in found.files] == expected.pop("files", [])
    assert {key: _show(getattr(found, key)) for key in expected} == expected


def _check_mail(mail: ParsedMail, expected: dict[str, Any]) -> None:
    _check_forward(mail.forward, expected.pop("forward", None))
    _check_attachments(mail, expected.pop("attachments", [{}] * len(mail.attachments)))
    for piece in expected.pop("body_has", []):
        assert piece in mail.body
    for piece in expected.pop("body_lacks", []):
        assert piece not in mail.body
    for piece in expected.pop("quoted_has", []):
        assert piece in mail.quoted
    assert set(expected.pop("notes_has", [])) <= set(mail.notes)
    assert {key: _pick(_show(getattr(mail, key)), expected[key]) for key in expected} == expected


@pytest.mark.parametrize("path", _MESSAGES, ids=lambda path: path.stem)
def test_a_message_of_the_corpus_parses_to_what_a_person_reads_in_it(path: Path) -> None:
    expected = json.loads(path.with_suffix(".json").read_text("utf-8"))
    found = parse_mail(path.read_bytes(), ParseOptions(**expected.pop("options", {})))
    if "refusal" in expected:
        assert isinstance(found, Refusal)
        assert found.code == expected["refusal"]
        return
    assert isinstance(found, ParsedMail)
    _check_mail(found, expected)


@pytest.mark.parametrize("path", _MESSAGES, ids=lambda path: path.stem)
def test_reply_quote_and_signature_hold_every_word_of_the_body(path: Path) -> None:
    found = parse_mail(path.read_bytes(), ParseOptions())
    if isinstance(found, ParsedMail):
        parts = [found.reply, found.quoted, found.signature]
        assert Counter(" ".join(parts).split()) == Counter(found.body.split())
        assert split_reply(found.reply, subject=found.subject).reply == found.reply
        assert any(parts[1:]) or found.reply == found.body


@pytest.mark.parametrize("path", _MESSAGES, ids=lambda path: path.stem)
def test_a_parsed_message_crosses_the_process_boundary_unchanged(path: Path) -> None:
    found = parse_mail(path.read_bytes(), ParseOptions(html_text=True))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=ParsedMail | Refusal) == found


def test_every_message_has_its_expected_values_and_there_are_at_least_300() -> None:
    assert {path.stem for path in _MESSAGES} == {path.stem for path in _FOLDER.glob("*.json")}
    assert len(_MESSAGES) >= 300
