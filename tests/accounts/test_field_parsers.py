"""Reading field values as people write them."""

from datetime import time

import pytest

from accounts import field_parsers
from accounts.field_parsers import RefusedValueError
from accounts.public_domains import PUBLIC_DOMAINS
from core.errors import RefusedError


def refused(read, value) -> str:
    with pytest.raises(RefusedValueError) as caught:
        read("field", value)
    assert caught.value.field == "field"
    assert caught.value.text
    assert caught.value.hint
    return caught.value.code


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (" Dana.Ortiz@Riverside.Example ", "dana.ortiz@riverside.example"),
        ("o'neil+billing@a-b.example", "o'neil+billing@a-b.example"),
        ("info@bücher.example", "info@xn--bcher-kva.example"),
    ],
)
def test_an_address_is_read_in_lower_case_with_an_ascii_domain(written: str, meant: str) -> None:
    assert field_parsers.read_email("email", written) == meant


@pytest.mark.parametrize(
    "written",
    [
        "", "dana", "dana@", "@riverside.example", "a@b@riverside.example", "dana@localhost", "Dana <dana@riverside.example>",
        "dana@riverside.example, b@riverside.example", '"d o"@riverside.example', "dana ortiz@riverside.example",
        "dana@-x.example", "dana@x..example", ".dana@riverside.example", "x" * 65 + "@riverside.example",
        "dana@" + "x" * 64 + ".example", "dänä@riverside.example", "dana@[192.0.2.1]",
    ],
)  # fmt: skip
def test_text_other_than_one_plain_mailbox_is_refused(written: str) -> None:
    assert refused(field_parsers.read_email, written) == "odd_address"


def test_a_refused_value_is_shown_cut_and_quoted() -> None:
    with pytest.raises(RefusedError) as caught:
        field_parsers.read_email("email", "x\x1b[31m" + "y" * 500)
    assert len(caught.value.text) < 120
    assert "\x1b" not in caught.value.text


def test_domains_are_split_normalised_and_unique() -> None:
    found = field_parsers.read_domains("domains", "@Riverside.example; www.riverside.example, oakhill.example oakhill.example.")
    assert found == {"riverside.example", "oakhill.example"}
    assert field_parsers.read_domains("domains", ["a.example", " "]) == {"a.example"}


def test_a_public_mail_domain_is_never_a_companys() -> None:
    assert refused(field_parsers.read_domains, "riverside.example, GMAIL.com") == "public_domain"


def test_invalid_domain_is_refused() -> None:
    assert refused(field_parsers.read_domains, "riverside") == "odd_domain"
    assert refused(field_parsers.read_domain, "a b.example") == "odd_domain"
    assert refused(field_parsers.read_domain, "\u2024.example") == "odd_domain"


@pytest.mark.parametrize("domain", ["gmail.com", "yahoo.com", "outlook.com", "hotmail.com", "aol.com", "comcast.net"])
def test_common_public_domains_are_known(domain: str) -> None:
    assert domain in PUBLIC_DOMAINS


def test_every_public_domain_is_a_domain_in_lower_case() -> None:
    assert len(PUBLIC_DOMAINS) > 150
    for domain in PUBLIC_DOMAINS:
        assert field_parsers.read_domain("domain", domain) == domain


def test_text_is_one_line_without_hidden_characters() -> None:
    assert field_parsers.read_text("name", "  Mara\u200b \n Lind\u202e ") == "Mara Lind"
    assert field_parsers.read_text("name", "Ine\u0300s") == "In\u00e8s"
    assert refused(field_parsers.read_text, "x" * 201) == "long_value"


@pytest.mark.parametrize(("written", "meant"), [("Rep", "representative"), (" MANAGER", "manager"), ("admin", "administrator")])
def test_roles_are_read(written: str, meant: str) -> None:
    assert field_parsers.read_role("role", written) == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [("Mon-Fri", "01234"), ("mon, wed;FRI", "024"), ("Saturday – Monday", "056"), ("43210", "01234"), ("Tuesday", "1")],
)
def test_weekdays_are_read(written: str, meant: str) -> None:
    assert field_parsers.read_weekdays("weekdays", written) == meant


@pytest.mark.parametrize(
    ("written", "starts", "ends"),
    [
        ("08:00-17:00", time(8), time(17)),
        ("8am - 5:30pm", time(8), time(17, 30)),
        ("9 to 17", time(9), time(17)),
        ("12am-12pm", time(0), time(12)),
    ],
)
def test_working_hours_are_read(written: str, starts: time, ends: time) -> None:
    assert field_parsers.read_hours("hours", written) == (starts, ends)


@pytest.mark.parametrize(
    ("read", "written", "code"),
    [
        (field_parsers.read_role, "boss", "unknown_role"),
        (field_parsers.read_weekdays, "weekend", "odd_weekdays"),
        (field_parsers.read_weekdays, "mon-", "odd_weekdays"),
        (field_parsers.read_weekdays, "789", "odd_weekdays"),
        (field_parsers.read_hours, "17:00-08:00", "odd_hours"),
        (field_parsers.read_hours, "25:00-26:00", "odd_hours"),
        (field_parsers.read_hours, "13pm-14pm", "odd_hours"),
        (field_parsers.read_hours, "all day", "odd_hours"),
        (field_parsers.read_capacity, "-1", "odd_capacity"),
        (field_parsers.read_capacity, "1e3", "odd_capacity"),
        (field_parsers.read_capacity, "²", "odd_capacity"),
        (field_parsers.read_capacity, "10001", "odd_capacity"),
        (field_parsers.read_flag, "perhaps", "odd_flag"),
        (field_parsers.read_zone, "Mars/Olympus", "odd_zone"),
        (field_parsers.read_zone, "../../etc/passwd", "odd_zone"),
        (field_parsers.read_zone, "America", "odd_zone"),
        (field_parsers.read_preferred_contact, "pigeon", "unknown_contact_method"),
    ],
)
def test_unreadable_value_is_refused_with_its_code(read, written: str, code: str) -> None:
    assert refused(read, written) == code


def test_a_lone_dash_between_days_is_refused_and_not_read_as_one_day() -> None:
    assert refused(field_parsers.read_weekdays, "-fri") == "odd_weekdays"


@pytest.mark.parametrize(("written", "meant"), [("Yes", True), ("x", True), ("0", False), ("inactive", False), (True, True)])
def test_yes_and_no_are_read(written: bool | str, meant: bool) -> None:
    assert field_parsers.read_flag("active", written) is meant


@pytest.mark.parametrize(("written", "meant"), [("E-Mail", "email"), ("Phone call", "phone"), ("telephone", "phone")])
def test_contact_methods_are_read(written: str, meant: str) -> None:
    assert field_parsers.read_preferred_contact("preferred_contact", written) == meant


def test_skills_keep_their_order_and_are_unique() -> None:
    assert field_parsers.read_skills("skills", "Denials; appeals,denials, ") == "denials,appeals"
