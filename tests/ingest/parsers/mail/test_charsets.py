from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.parsers.mail.charsets import decode_text, find_codec, find_meta_charset, make_charset_note


@pytest.mark.parametrize(
    ("data", "declared", "text", "used"),
    [
        ("ü".encode(), "utf-8", "ü", None),
        (b"\xef\xbb\xbfa", "UTF-8", "a", None),
        (b"plain", None, "plain", None),
        (b"plain", "x-nonsense", "plain", "us-ascii"),
        ("ü€".encode(), None, "ü€", "utf-8"),
        (b"\xfc", None, "ü", "windows-1252"),
        (b"\xfc", "utf-8", "ü", "windows-1252"),
        (b"\xfc", "us-ascii", "ü", "windows-1252"),
        (b"\x80\xfc", "iso-8859-1", "€ü", None),
        (b"\x81\xfc", "iso-8859-1", "\x81ü", None),
        (b"\x81\xfc", None, "\ufffdü", "windows-1252-replaced"),
        ("привет".encode("koi8-r"), "KOI8-R", "привет", None),
        ("价格€".encode("gb18030"), "gb2312", "价格€", None),
        ("請求".encode("iso-2022-jp"), "us-ascii", "請求", "iso-2022-jp"),
        ("請求".encode("iso-2022-jp"), None, "請求", "iso-2022-jp"),
        ("שלום".encode("iso8859-8"), "iso-8859-8-i", "שלום", None),
    ],
)
def test_the_declared_charset_then_utf8_then_windows_1252(data: bytes, declared: str | None, text: str, used: str | None) -> None:
    assert decode_text(data, declared) == (text, used)


def test_a_guess_is_made_only_for_long_texts_windows_1252_cannot_read() -> None:
    long = ("Здравствуйте, вход в систему не работает уже второй день. " * 8 + "Ѓ").encode("cp1251")
    text, used = decode_text(long, None)
    assert "вход в систему не работает" in text
    assert used not in (None, "utf-8", "windows-1252", "windows-1252-replaced")
    assert decode_text(b"\x81" + b"\xfc" * 20, None)[1] == "windows-1252-replaced"


@pytest.mark.parametrize("name", ["rot13", "zlib_codec", "idna", "punycode", "undefined", "unicode_escape", "hex", "", "a b"])
def test_codecs_that_are_not_mail_charsets_are_refused(name: str) -> None:
    assert find_codec(name) is None


@given(st.binary(max_size=400), st.sampled_from([None, "utf-8", "utf-7", "utf-16", "utf-32", "hz", "big5", "x", "iso-2022-kr"]))
def test_every_text_can_be_written_as_utf8(data: bytes, declared: str | None) -> None:
    decode_text(data, declared)[0].encode("utf-8")


@pytest.mark.parametrize(
    ("html", "charset"),
    [
        (b'<meta charset="koi8-r">', "koi8-r"),
        (b"<META http-equiv=Content-Type content='text/html; charset=windows-1251'>", "windows-1251"),
        (b"<p>charset=koi8-r</p>", None),
        (b" " * 3_000 + b"<meta charset=koi8-r>", None),
    ],
)
def test_a_page_names_its_charset_in_a_meta_element(html: bytes, charset: str | None) -> None:
    assert find_meta_charset(html) == charset


def test_a_note_is_a_code() -> None:
    assert make_charset_note("Windows-1252") == "charset_windows_1252"
    assert make_charset_note("utf-8", "header_charset") == "header_charset_utf_8"
