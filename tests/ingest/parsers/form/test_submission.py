"""Formstack submissions: the corpus, and arbitrary bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.parsers.form.members import MAX_FIELDS
from ingest.parsers.form.submission import LABEL_NOTE, REPEATED_NOTE, parse_form
from ingest.parsers.types import FormField, ParsedForm, ParseOptions, Refusal
from ingest.sources.formstack_envelope import Envelope, split_envelope, verify_signature

FORMS = Path(__file__).parents[3] / "corpus" / "forms"
BODIES = sorted(path for path in FORMS.iterdir() if path.suffix == ".form" or ".expected" not in path.name)
NOTES = {"labels": LABEL_NOTE, "repeated": REPEATED_NOTE}
JSON = "application/json"
URLENCODED = "application/x-www-form-urlencoded"
KEY = b"demo-hmac-key"


def read_expected(body: Path) -> dict[str, Any]:
    expected: dict[str, Any] = json.loads(body.with_suffix("").with_suffix(".expected.json").read_text("utf-8"))
    return expected


def media_type(body: Path) -> str:
    return JSON if body.suffix == ".json" else URLENCODED


def make_form(**fields: object) -> bytes:
    return json.dumps({"FormID": "1", "UniqueID": "2", **fields}).encode()


@pytest.mark.parametrize("body", BODIES, ids=lambda path: path.name)
@pytest.mark.parametrize("is_declared", [True, False], ids=["declared", "detected"])
def test_each_form_of_the_corpus_reads_as_expected(body: Path, is_declared: bool) -> None:
    expected = read_expected(body)
    parsed = parse_form(body.read_bytes(), ParseOptions(content_type=media_type(body) if is_declared else None))
    if "refusal" in expected:
        assert isinstance(parsed, Refusal)
        assert parsed.code == expected["refusal"]
        return
    assert parsed == ParsedForm(
        form_id=expected["form_id"],
        submission_id=expected["submission_id"],
        fields=tuple(FormField(**field) for field in expected["fields"]),
        notes=tuple(NOTES[note] for note in expected["notes"]),
    )


@pytest.mark.parametrize("spelling", ["HandshakeKey", "handshakekey", "Handshake Key", "handshake_key"])
def test_the_handshake_key_is_no_field_under_any_spelling(spelling: str) -> None:
    body = make_form(**{spelling: "s3cret", "1": "x"})
    parsed = parse_form(body, ParseOptions())
    assert isinstance(parsed, ParsedForm)
    assert [field.key for field in parsed.fields] == ["1"]
    envelope = split_envelope(body, JSON)
    assert isinstance(envelope, Envelope)
    assert b"s3cret" not in envelope.stored


def test_a_form_of_too_many_fields_is_refused() -> None:
    body = "FormID=1&UniqueID=2&" + "&".join(f"{number}=x" for number in range(MAX_FIELDS))
    refusal = parse_form(body.encode(), ParseOptions())
    assert isinstance(refusal, Refusal)
    assert refusal.code == "too_many_fields"


def test_field_ids_add_no_note_about_labels() -> None:
    with_ids = parse_form(make_form(**{"172000001": "x"}), ParseOptions())
    with_labels = parse_form(make_form(Email="x"), ParseOptions())
    assert isinstance(with_ids, ParsedForm)
    assert isinstance(with_labels, ParsedForm)
    assert with_ids.notes == ()
    assert with_labels.notes == (LABEL_NOTE,)


@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_give_a_form_or_a_refusal(data: bytes) -> None:
    for content_type in (None, JSON, URLENCODED):
        assert isinstance(parse_form(data, ParseOptions(content_type=content_type)), ParsedForm | Refusal)
    assert isinstance(split_envelope(data, JSON), Envelope | Refusal)
    verify_signature([KEY], data, data)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["value", "type", "field_type", "first", "city", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=12), VALUES, max_size=6))
def test_any_json_submission_gives_texts_that_can_be_stored(fields: dict[str, object]) -> None:
    parsed = parse_form(json.dumps({**fields, "FormID": "1", "UniqueID": "2"}).encode(), ParseOptions())
    if isinstance(parsed, Refusal):
        assert parsed.code in ("too_deep", "duplicate_key")
        return
    for field in parsed.fields:
        for text in (field.key, field.text, *field.parts, *field.parts.values()):
            assert "\x00" not in text
            text.encode("utf-8")
