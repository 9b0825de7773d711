"""The envelope of a Formstack post: ids, handshake key, signature."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest

from ingest.parsers.form.submission import parse_form
from ingest.parsers.types import ParseOptions, Refusal
from ingest.sources.formstack_envelope import Envelope, split_envelope, verify_signature

FORMS = Path(__file__).parents[2] / "corpus" / "forms"
BODIES = sorted(path for path in FORMS.iterdir() if path.suffix == ".form" or ".expected" not in path.name)
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
def test_signatures_of_the_corpus_verify_only_their_own_body(body: Path) -> None:
    signature = read_expected(body).get("signature", "sha256=" + "0" * 64)
    assert verify_signature([KEY], body.read_bytes(), signature) is ("signature" in read_expected(body))
    assert not verify_signature([KEY], body.read_bytes() + b" ", signature)


def test_published_vector_verifies() -> None:
    key, body, signature = VECTOR
    assert verify_signature([key], body, signature)
    assert verify_signature([key], body, signature.encode())
    assert verify_signature([b"the-next-key", key], body, signature)


@pytest.mark.parametrize(
    "header",
    [None, "", "sha256=", VECTOR[2][7:], VECTOR[2].upper(), "sha256=é", "\ud800", b"\xff\xfe", "sha1=" + "0" * 40],
)
def test_any_other_header_fails_verification_without_raising(header: str | bytes | None) -> None:
    assert not verify_signature([VECTOR[0]], VECTOR[1], header)


def test_nothing_verifies_without_a_key() -> None:
    forged = "sha256=" + hmac.new(b"", b"body", hashlib.sha256).hexdigest()
    assert not verify_signature([], b"body", forged)
    assert not verify_signature([b""], b"body", forged)


def test_body_without_secret_is_stored_byte_for_byte() -> None:
    body = b' {"FormID":"1" , "UniqueID":"2","HandshakeKey":"s3", "n": 1.10,"e":"\\u00e9" } '
    envelope = split_envelope(body, JSON)
    assert isinstance(envelope, Envelope)
    assert envelope.stored == b'{"FormID":"1","UniqueID":"2","n": 1.10,"e":"\\u00e9"}'
    envelope = split_envelope(b"FormID=1&HandshakeKey=s3&UniqueID=2&a=%41+%2b", URLENCODED)
    assert isinstance(envelope, Envelope)
    assert envelope.stored == b"FormID=1&UniqueID=2&a=%41+%2b"


def test_handshake_key_is_left_out_of_the_repr() -> None:
    envelope = split_envelope(make_form(HandshakeKey="s3cret"), JSON)
    assert isinstance(envelope, Envelope)
    assert envelope.handshake_key == "s3cret"
    assert "s3cret" not in repr(envelope)


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
def test_body_of_another_media_type_is_refused(content_type: str, code: str) -> None:
    refusal = split_envelope(make_form(Text="a=b"), content_type)
    assert isinstance(refusal, Refusal)
    assert refusal.code == code


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=UTF-8", "application/vnd.form+json"])
def test_json_is_accepted_under_all_its_media_types(content_type: str) -> None:
    assert isinstance(split_envelope(make_form(), content_type), Envelope)
