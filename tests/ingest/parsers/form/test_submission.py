"""Formstack submissions: the corpus, the envelope, the signature, and any bytes at all."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.parsers.form.submission import (
    LABEL_NOTE,
    MAX_FIELDS,
    REPEATED_NOTE,
    Envelope,
    parse_form,
    split_envelope,
    verify_signature,
)
from ingest.parsers.types import FormField, ParsedForm, ParseOptions, Refusal

FORMS = Path(__file__).parents[3] / "corpus" / "forms"
BODIES = sorted(path for path in FORMS.iterdir() if path.suffix == ".form" or ".expected" not in path.name)
NOTES = {"labels": LABEL_NOTE, "repeated": REPEATED_NOTE}
JSON = "application/json"
URLENCODED = "application/x-www-form-urlencoded"
KEY = b"demo-hmac-key"
VECTOR = (
    b"test1",
    b"FormID=6606394&UniqueID=1500878955&HandshakeKey=test",
    "sha256=30dff7f180b6d69eab397a5d51719474df490b730514c253e8b5832d3b51b970",
)


def read_expected(body: Path) -> dict[str, Any]:
    expected: dict[str, Any] = json.loads(body.with_suffix("").with_suffix(".expected.json").read_text("utf-8"))
    return expected


def media_type(body: Path) -> str:
    return JSON if body.suffix == ".json" else URLENCODED


def make_form(**fields: object) -> bytes:
    return json.dumps({"FormID": "1", "UniqueID": "2", **fields}).encode()


@pytest.mark.parametrize("body", BODIES, ids=lambda path: path.name)
@pytest.mark.parametrize("told", [True, False], ids=["told", "sniffed"])
def test_each_form_of_the_corpus_reads_as_expected(body: Path, told: bool) -> None:
    expected = read_expected(body)
    parsed = parse_form(body.read_bytes(), ParseOptions(content_type=media_type(body) if told else None))
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


@pytest.mark.parametrize("body", BODIES, ids=lambda path: path.name)
def test_each_envelope_of_the_corpus_is_split_as_expected(body: Path) -> None:
    expected = read_expected(body)
    envelope = split_envelope(body.read_bytes(), media_type(body))
    refusal = expected.get("envelope_refusal", expected.get("refusal"))
    if refusal and expected.get("envelope") != "stored":
        assert isinstance(envelope, Refusal)
        assert envelope.code == refusal
        return
    assert isinstance(envelope, Envelope)
    assert envelope.handshake_key == expected.get("handshake_key")
    assert b"ecret" not in envelope.stored
    if envelope.handshake_key is None:
        assert envelope.stored == body.read_bytes()
    stored = parse_form(envelope.stored, ParseOptions(content_type=media_type(body)))
    assert stored == parse_form(body.read_bytes(), ParseOptions(content_type=media_type(body)))


@pytest.mark.parametrize("body", BODIES, ids=lambda path: path.name)
def test_the_signatures_of_the_corpus_verify_and_no_other_body_does(body: Path) -> None:
    signature = read_expected(body).get("signature", "sha256=" + "0" * 64)
    assert verify_signature([KEY], body.read_bytes(), signature) is ("signature" in read_expected(body))
    assert not verify_signature([KEY], body.read_bytes() + b" ", signature)


def test_the_published_vector_verifies() -> None:
    key, body, signature = VECTOR
    assert verify_signature([key], body, signature)
    assert verify_signature([key], body, signature.encode())
    assert verify_signature([b"the-next-key", key], body, signature)


@pytest.mark.parametrize(
    "header",
    [None, "", "sha256=", VECTOR[2][7:], VECTOR[2].upper(), "sha256=é", "\ud800", b"\xff\xfe", "sha1=" + "0" * 40],
)
def test_any_other_header_does_not_verify_and_does_not_raise(header: str | bytes | None) -> None:
    assert not verify_signature([VECTOR[0]], VECTOR[1], header)


def test_without_a_key_nothing_verifies() -> None:
    forged = "sha256=" + hmac.new(b"", b"body", hashlib.sha256).hexdigest()
    assert not verify_signature([], b"body", forged)
    assert not verify_signature([b""], b"body", forged)


def test_the_rest_of_the_body_is_stored_byte_for_byte() -> None:
    body = b' {"FormID":"1" , "UniqueID":"2","HandshakeKey":"s3", "n": 1.10,"e":"\\u00e9" } '
    envelope = split_envelope(body, JSON)
    assert isinstance(envelope, Envelope)
    assert envelope.stored == b'{"FormID":"1","UniqueID":"2","n": 1.10,"e":"\\u00e9"}'
    envelope = split_envelope(b"FormID=1&HandshakeKey=s3&UniqueID=2&a=%41+%2b", URLENCODED)
    assert isinstance(envelope, Envelope)
    assert envelope.stored == b"FormID=1&UniqueID=2&a=%41+%2b"


def test_the_secret_is_in_no_repr() -> None:
    envelope = split_envelope(make_form(HandshakeKey="s3cret"), JSON)
    assert isinstance(envelope, Envelope)
    assert envelope.handshake_key == "s3cret"
    assert "s3cret" not in repr(envelope)


@pytest.mark.parametrize("spelling", ["HandshakeKey", "handshakekey", "Handshake Key", "handshake_key"])
def test_the_handshake_key_is_no_field_under_any_spelling(spelling: str) -> None:
    body = make_form(**{spelling: "s3cret", "1": "x"})
    parsed = parse_form(body, ParseOptions())
    assert isinstance(parsed, ParsedForm)
    assert [field.key for field in parsed.fields] == ["1"]
    envelope = split_envelope(body, JSON)
    assert isinstance(envelope, Envelope)
    assert b"s3cret" not in envelope.stored


@pytest.mark.parametrize(
    ("content_type", "code"),
    [
        ("text/plain", "unsupported_content_type"),
        ("multipart/form-data; boundary=x", "unsupported_content_type"),
        ("application/json; charset=utf-16", "not_utf8"),
        ("application/x-www-form-urlencoded; charset=ISO-8859-1", "not_utf8"),
        ("application/x-www-form-urlencoded", "no_form_id"),
    ],
)
def test_a_body_of_another_type_is_refused(content_type: str, code: str) -> None:
    refusal = split_envelope(make_form(Text="a=b"), content_type)
    assert isinstance(refusal, Refusal)
    assert refusal.code == code


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=UTF-8", "application/vnd.form+json"])
def test_json_is_taken_under_its_names(content_type: str) -> None:
    assert isinstance(split_envelope(make_form(), content_type), Envelope)


def test_a_form_of_too_many_fields_is_refused() -> None:
    body = "FormID=1&UniqueID=2&" + "&".join(f"{number}=x" for number in range(MAX_FIELDS))
    refusal = parse_form(body.encode(), ParseOptions())
    assert isinstance(refusal, Refusal)
    assert refusal.code == "too_many_fields"


def test_ids_alone_bring_no_note_about_labels() -> None:
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
