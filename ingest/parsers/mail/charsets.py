"""Decode bytes to text: the declared charset, then strict UTF-8, then windows-1252, and a guess as the last step."""

from __future__ import annotations

import codecs
import re
from functools import lru_cache

from charset_normalizer import from_bytes

#: Shorter texts are not guessed: charset-normalizer takes short latin-1 texts for cp1250.
MIN_GUESS_BYTES = 200
GUESS_SAMPLE_BYTES = 20_000

# Names that mail programs write and Python does not know, and the supersets that mail really uses (WHATWG Encoding, §4.2).
_ALIASES = {
    "iso-8859-1": "cp1252",
    "iso8859-1": "cp1252",
    "latin1": "cp1252",
    "latin-1": "cp1252",
    "l1": "cp1252",
    "ansi": "cp1252",
    "x-ansi": "cp1252",
    "iso-8859-8-i": "iso8859-8",
    "iso-8859-8-e": "iso8859-8",
    "iso-8859-9": "cp1254",
    "windows-874": "cp874",
    "iso-8859-11": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "x-gbk": "gb18030",
    "ks_c_5601-1987": "cp949",
    "ks_c_5601": "cp949",
    "euc-kr": "cp949",
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "sjis": "cp932",
    "x-sjis": "cp932",
    "x-euc-jp": "euc_jp",
    "iso-2022-jp": "iso2022_jp_ext",
    "x-mac-roman": "mac_roman",
    "unicode-1-1-utf-7": "utf-7",
    "unicode-1-1-utf-8": "utf-8",
    "utf8mb4": "utf-8",
    "x-utf-8": "utf-8",
    "utf-8": "utf-8-sig",
    "utf8": "utf-8-sig",
}
# Python codecs that are not charsets of mail. Some of them take quadratic time.
_NON_MAIL_CODECS = frozenset({"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape", "mbcs", "oem", "charmap"})
_LATIN_1 = frozenset({"iso-8859-1", "iso8859-1", "latin1", "latin-1", "l1"})
_NAME = re.compile(r"[a-z0-9][a-z0-9._:+-]{0,39}\Z")
_META = re.compile(rb"<meta[^<>]{0,200}?charset\s{0,9}=\s{0,9}[\"']?([A-Za-z0-9._:-]{2,40})", re.I)


@lru_cache(maxsize=256)
def find_codec(declared: str) -> str | None:
    """Return the Python codec of a declared charset name, or None for an unknown or unsuitable name."""
    name = declared.strip(" \t\"'").lower().split("*", 1)[0]
    if not _NAME.match(name.replace("_", "-")):
        return None
    try:
        info = codecs.lookup(_ALIASES.get(name, name))
    except (LookupError, ValueError):
        return None
    text_codec = getattr(info, "_is_text_encoding", True)
    return info.name if text_codec and info.name.replace("_", "-") not in _NON_MAIL_CODECS else None


def _try_decode(data: bytes, codec: str) -> str | None:
    try:
        text = data.decode(codec)
        if not text.isascii():
            # Some codecs (UTF-7) produce lone surrogates, which cannot be stored.
            text.encode("utf-8")
    except (UnicodeError, LookupError, ValueError):
        return None
    return text


def _decode_declared(data: bytes, declared: str) -> str | None:
    codec = find_codec(declared)
    if codec is None or (codec.startswith("utf-16") and b"\0" not in data):
        # UTF-16 text contains zero bytes: the label is wrong.
        return None
    text = _try_decode(data, codec)
    if text is None and declared.strip().lower() in _LATIN_1:
        # windows-1252 leaves some bytes undefined, latin-1 defines all of them.
        text = data.decode("latin-1")
    return text


def _guess(data: bytes) -> tuple[str, str] | None:
    if len(data) < MIN_GUESS_BYTES:
        return None
    best = from_bytes(data[:GUESS_SAMPLE_BYTES]).best()
    text = _try_decode(data, best.encoding) if best is not None else None
    return (text, best.encoding) if best is not None and text is not None else None


def decode_text(data: bytes, declared: str | None) -> tuple[str, str | None]:
    """Return the text and the name of the charset used. Never raises.

    The name is None when the declared charset (or ASCII) was used.
    """
    if declared:
        text = _decode_declared(data, declared)
        # 7-bit Japanese (ISO-2022-JP) labelled as ASCII or UTF-8 decodes without an error and is unreadable.
        if text is not None and not ("\x1b$" in text and text.isascii()):
            return text, None
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") and (text := _try_decode(data, "utf-16")) is not None:
        return text, "utf-16"
    return _decode_with_replacements(data, declared) or _decode_undeclared(data, declared)


_MULTIBYTE = frozenset({"utf-8-sig", "gb18030", "big5", "big5hkscs", "cp932", "cp949", "euc_jp", "iso2022_jp_ext"})


def _decode_with_replacements(data: bytes, declared: str | None) -> tuple[str, str] | None:
    """Decode a multibyte text with a few bad bytes in its own charset: another charset would garble all of it."""
    codec = find_codec(declared) if declared else "utf-8-sig"
    if codec not in _MULTIBYTE or data.isascii():
        return None
    text = data.decode(codec, "replace")
    bad = text.count("\ufffd")
    good = len(text) - bad - sum(map(text.count, map(chr, range(128))))
    if not bad or bad * 8 > good:
        return None
    name = (declared or "utf-8").strip(" \t\"'").lower().partition("*")[0]
    return text, f"{name}-replaced"


def _decode_undeclared(data: bytes, declared: str | None) -> tuple[str, str | None]:
    if data.isascii():
        japanese = _try_decode(data, "iso2022_jp_ext") if b"\x1b$" in data else None
        if japanese is not None:
            return japanese, "iso-2022-jp"
        return data.decode("ascii"), "us-ascii" if declared else None
    text = _try_decode(data, "utf-8-sig")
    if text is not None:
        return text, "utf-8"
    text = _try_decode(data, "cp1252")
    if text is not None:
        return text, "windows-1252"
    guessed = _guess(data)
    if guessed is not None:
        return guessed
    return data.decode("cp1252", "replace"), "windows-1252-replaced"


def find_meta_charset(html: bytes) -> str | None:
    """Return the charset that a meta element names in the first 2,048 bytes of an HTML document (HTML, §13.2.3.2)."""
    match = _META.search(html, 0, 2048)
    name = match.group(1).decode("ascii") if match else None
    # HTML, §13.2.3.2: the element was readable as ASCII, so UTF-16 means UTF-8.
    return "utf-8" if name and name.lower().startswith("utf-16") else name


def make_charset_note(charset: str, where: str = "charset") -> str:
    """Return the note that names the charset used, for example ``charset_windows_1252``."""
    return f"{where}_{re.sub(r'[^a-z0-9]+', '_', charset.lower())}"
