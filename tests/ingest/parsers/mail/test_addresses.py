from __future__ import annotations

import pytest

from ingest.parsers.mail.addresses import SenderAddress, read_from_local_part, read_list, read_lists, read_mailbox, read_sender
from ingest.parsers.mail.headers import Headers


def parse_sender(*values: str) -> SenderAddress:
    headers = Headers()
    for value in values:
        headers.add(b"From", value.encode())
    return read_sender(headers)


@pytest.mark.parametrize(
    ("value", "address", "name"),
    [
        ("ana@x.example", "ana@x.example", None),
        ("<Ana@X.Example>", "ana@x.example", None),
        ("Ana Bell <ana@x.example>", "ana@x.example", "Ana Bell"),
        ('"Bell, Ana" <ana@x.example>', "ana@x.example", "Bell, Ana"),
        ('"Ana \\"AB\\" Bell" <ana@x.example>', "ana@x.example", 'Ana "AB" Bell'),
        ("A. Bell <ana+tag@mail.x.example>", "ana+tag@mail.x.example", "A. Bell"),
        ("[EXT] Ana <ana@x.example>", "ana@x.example", "[EXT] Ana"),
        ("ana@x.example <ANA@x.example>", "ana@x.example", "ana@x.example"),
        ("=?iso-8859-1?Q?J=F6rg?= =?iso-8859-1?Q?_Bell?= <j@x.example>", "j@x.example", "Jörg Bell"),
        ("Info <info@bücher.example>", "info@xn--bcher-kva.example", "Info"),
        ("root@localhost", "root@localhost", None),
    ],
)
def test_one_plain_mailbox_is_the_sender(value: str, address: str, name: str | None) -> None:
    assert parse_sender(value) == SenderAddress(address, name, None)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("", "no_from"),
        ("   ", "no_from"),
        (",", "no_from"),
        ("Ana Bell", "odd_address"),
        ("<>", "odd_address"),
        ("ana@", "odd_address"),
        ("@x.example", "odd_address"),
        ("ana@x@y.example", "odd_address"),
        ("ana..bell@x.example", "odd_address"),
        (".ana@x.example", "odd_address"),
        ("ana bell@x.example", "odd_address"),
        ("ana@-x.example", "odd_address"),
        ("ana@x..example", "odd_address"),
        ("ana@[192.0.2.1]", "odd_address"),
        ("ana@xn--zz-.example", "odd_address"),
        ("jörg@x.example", "odd_address"),
        ("Ana <ana@x.example", "odd_address"),
        ("Ana ana@x.example>", "odd_address"),
        ("Ana <ana@x.example> trailing", "odd_address"),
        ("Ana <ana@x.example> <eve@y.example>", "odd_address"),
        ("Ana <<ana@x.example>>", "odd_address"),
        ("Ana <@relay.example:ana@x.example>", "odd_address"),
        ('"Ana <ana@x.example>', "odd_address"),
        ("ceo@acme.example <eve@y.example>", "odd_address"),
        ("Bell, Ana <ana@x.example>", "odd_address"),
        ("ana@x.example, eve@y.example", "several_addresses"),
        ("Team: ana@x.example;", "group_address"),
        ("Team: ana@x.example, eve@y.example;", "group_address"),
        ("ana@x.example (Ana)", "comment_in_address"),
        ("ana(c)@x.example", "comment_in_address"),
        ('"ana"@x.example', "quoted_local_part"),
        ('Ana <"ana bell"@x.example>', "quoted_local_part"),
        ("=?utf-8?Q?ana=40x.example?=", "encoded_address"),
        ("Ana <=?utf-8?Q?ana?=@x.example>", "encoded_address"),
    ],
)
def test_any_other_from_gives_no_sender_and_a_reason(value: str, problem: str) -> None:
    found = parse_sender(value)
    assert (found.address, found.problem) == (None, problem)


def test_two_from_fields_give_no_sender_even_when_equal() -> None:
    assert parse_sender("ana@x.example", "ana@x.example") == SenderAddress(None, None, "several_from")


def test_an_encoded_name_never_becomes_an_address() -> None:
    assert parse_sender("=?utf-8?Q?=3Ceve=40y.example=3E=2C?= <ana@x.example>").address == "ana@x.example"


def test_a_name_is_shown_without_bidi_zero_width_and_control_characters() -> None:
    assert parse_sender("=?utf-8?Q?A=E2=80=AEna=E2=80=8B=0D=0AX?= <a@x.example>").name == "Ana X"


def test_list_returns_each_plain_address_once_in_order() -> None:
    value = 'A <a@x.example>, "B, b" <B@x.example>; G: c@x.example (c), a@x.example;, no address, "q"@x.example'
    assert read_list([value, "d@x.example"]) == ("a@x.example", "b@x.example", "c@x.example", "d@x.example")


def test_all_address_lists_share_one_limit() -> None:
    headers = Headers()
    headers.add(b"To", b",".join(b"t%d@x.example" % n for n in range(199)))
    headers.add(b"Cc", b"c1@x.example, c2@x.example")
    to, cc = read_lists(headers, "to", "cc")
    assert (len(to), cc, headers.notes) == (199, ("c1@x.example",), ["addresses_cut"])


@pytest.mark.parametrize("spec", ["a" * 65 + "@x.example", "a@" + "b" * 64 + ".example", "a@" + "b." * 130 + "example"])
def test_a_mailbox_over_the_lengths_of_smtp_is_not_plain(spec: str) -> None:
    assert read_mailbox(spec) is None


@pytest.mark.parametrize(
    ("value", "local"),
    [("MAILER-DAEMON (Mail)", "mailer-daemon"), ("X <Postmaster@x.example>", "postmaster"), ("", ""), ("<>", "")],
)
def test_local_part_of_from_is_read_without_a_domain(value: str, local: str) -> None:
    headers = Headers()
    headers.add(b"From", value.encode())
    assert read_from_local_part(headers) == local
