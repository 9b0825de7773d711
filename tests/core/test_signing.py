"""Signed names: only this installation can create them, and it reads its token back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.signing import Signer

KEY, OTHER = b"k" * 32, b"o" * 32
SIGNER = Signer([KEY], "Care.example")
TOKENS = st.from_regex(r"[a-z0-9]{1,9}([.-][a-z0-9]{1,8}){0,2}", fullmatch=True)


@given(TOKENS)
def test_signed_token_is_verified(token: str) -> None:
    assert SIGNER.verify_message_id(SIGNER.message_id(token)) == token
    assert SIGNER.verify_envelope_sender(SIGNER.envelope_sender(token)) == token
    assert SIGNER.verify_reply_address(SIGNER.reply_address(token)) == token


def test_names_contain_their_token_and_are_deterministic() -> None:
    assert SIGNER.message_id("t123.d456") == Signer([KEY], "care.example").message_id("t123.d456")
    assert SIGNER.message_id("t123.d456").startswith("<t123.d456.")
    assert SIGNER.envelope_sender("d456").startswith("bounce+d456.")
    assert SIGNER.reply_address("t123").startswith("support+t123.")
    assert SIGNER.reply_address("t123").endswith("@care.example")


@given(TOKENS)
def test_local_part_never_exceeds_64_octets(token: str) -> None:
    for name in (SIGNER.message_id(token).strip("<>"), SIGNER.envelope_sender(token), SIGNER.reply_address(token)):
        assert len(name.rpartition("@")[0]) <= 64


def test_verification_ignores_case_brackets_and_space() -> None:
    assert SIGNER.verify_message_id(f"  {SIGNER.message_id('t1.d2').upper()}\r\n") == "t1.d2"
    assert SIGNER.verify_message_id(SIGNER.message_id("t1.d2").strip("<>")) == "t1.d2"
    assert SIGNER.verify_envelope_sender(f"<{SIGNER.envelope_sender('d2').title()}>") == "d2"


def test_any_changed_character_fails_verification() -> None:
    name = SIGNER.message_id("t123.d456").strip("<>")
    for place, character in enumerate(name):
        changed = name[:place] + ("b" if character == "a" else "a") + name[place + 1 :]
        assert SIGNER.verify_message_id(changed) is None


def test_name_for_one_purpose_is_not_valid_for_another() -> None:
    signed = SIGNER.reply_address("t1").removeprefix("support+")
    assert SIGNER.verify_message_id(f"<{signed}>") is None
    assert SIGNER.verify_envelope_sender(f"bounce+{signed}") is None
    assert SIGNER.verify_reply_address(f"support+{signed}") == "t1"


def test_name_of_another_domain_or_key_is_not_valid() -> None:
    name = SIGNER.message_id("t1.d2")
    elsewhere = Signer([KEY], "other.example")
    assert elsewhere.verify_message_id(name) is None
    assert elsewhere.verify_message_id(name.replace("care.example", "other.example")) is None
    assert Signer([OTHER], "care.example").verify_message_id(name) is None


def test_first_key_signs_and_every_key_verifies() -> None:
    rotated = Signer([OTHER, KEY], "care.example")
    assert rotated.verify_message_id(SIGNER.message_id("t1.d2")) == "t1.d2"
    assert rotated.message_id("t1.d2") == Signer([OTHER], "care.example").message_id("t1.d2")


def test_mac_has_at_least_128_bits() -> None:
    mac = SIGNER.message_id("t1.d2").removeprefix("<t1.d2.").partition("@")[0]
    assert len(mac) * 5 >= 128
    assert mac == mac.lower()


@given(st.text(max_size=500))
def test_no_other_text_is_valid_and_none_raises(text: str) -> None:
    for value in (text, f"<{text}@care.example>", f"bounce+{text}@care.example", f"support+{text}@care.example"):
        assert SIGNER.verify_message_id(value) is None
        assert SIGNER.verify_envelope_sender(value) is None
        assert SIGNER.verify_reply_address(value) is None


@pytest.mark.parametrize("value", ["", "<>", "@", "<<<<<", "x" * 100_000, "<t1.d2@care.example>", "\ud800@care.example"])
def test_malformed_name_is_not_valid(value: str) -> None:
    assert SIGNER.verify_message_id(value) is None


def test_letter_that_only_lower_cases_to_ascii_is_not_valid() -> None:
    name = Signer([KEY], "k.example").message_id("k1.d2")
    assert Signer([KEY], "k.example").verify_message_id(name.replace("<k1", "<\u212a1")) is None


@pytest.mark.parametrize("token", ["", "T1", "t1..d2", ".t1", "t1.", "t 1", "t1@x", "t1\r\nBcc", "é", "x" * 29])
def test_token_that_cannot_be_verified_later_is_refused(token: str) -> None:
    for sign in (SIGNER.message_id, SIGNER.envelope_sender, SIGNER.reply_address):
        with pytest.raises(ValueError, match="token"):
            sign(token)


@pytest.mark.parametrize("keys", [[], [b""], [KEY, b"short"]])
def test_weak_keys_are_refused(keys: list[bytes]) -> None:
    with pytest.raises(ValueError, match="key"):
        Signer(keys, "care.example")


def test_repr_of_signer_contains_no_key() -> None:
    assert "kkkk" not in repr(SIGNER)


def test_mailboxes_of_signed_addresses_can_be_configured() -> None:
    signer = Signer([KEY], "care.example", bounce="b", reply="Help")
    assert signer.verify_envelope_sender(signer.envelope_sender("d1")) == "d1"
    assert signer.reply_address("t1").startswith("help+t1.")
    assert SIGNER.verify_reply_address(signer.reply_address("t1")) is None
    with pytest.raises(ValueError, match="mailbox"):
        Signer([KEY], "care.example", reply="a-mailbox-with-a-very-long-name")
