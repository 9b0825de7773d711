"""Convert text/enriched (RFC 1896), RTF and calendar invites (RFC 5545) to plain text. Linear in the length; never raises."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ingest.parsers.mail.charsets import decode_text

#: Characters (bytes of RTF) that are read of one text.
MAX_TEXT_LENGTH = 300_000

_PARAM = re.compile(r"<param>[^<]{0,10000}</param>", re.I)
_COMMAND = re.compile(r"</?[a-z][a-z0-9-]{0,59}>", re.I)
_BREAKS = re.compile(r"\n+")


def read_enriched(text: str) -> str:
    """Return the text of text/enriched: one line end is a space, n line ends are n - 1, ``<<`` is a bracket."""
    text = _PARAM.sub("", text[:MAX_TEXT_LENGTH]).replace("<<", "\x00")
    text = _COMMAND.sub("", text).replace("\x00", "<")
    return _BREAKS.sub(lambda m: "\n" * (len(m.group()) - 1) or " ", text.strip("\n")).strip(" ")


_RTF = re.compile(
    rb"\\'([0-9a-fA-F]{2})|\\([a-z]{1,32})(-?[0-9]{1,10})?[ ]?|\\([^a-z\r\n])|([{}])|([\r\n]+)|\\[\r\n]+|([^\\{}\r\n]+)|\\"
)
_RTF_HIDDEN_GROUPS = frozenset(
    b"fonttbl colortbl stylesheet info pict object header footer headerl headerr headerf footerl footerr footerf fldinst"
    b" themedata colorschememapping listtable listoverridetable rsidtbl generator datastore latentstyles mhtmltag".split()
)
_RTF_WORDS = {
    b"par": "\n", b"line": "\n", b"row": "\n", b"sect": "\n", b"page": "\n", b"tab": "\t", b"cell": "\t", b"emdash": "—",
    b"endash": "–", b"lquote": "‘", b"rquote": "’", b"ldblquote": "“", b"rdblquote": "”", b"bullet": "•",
}  # fmt: skip


class _RtfReader:
    r"""One pass over the tokens. ``stack`` holds (hidden, number of fallback characters after \u) of the open groups."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self.raw = bytearray()
        self.codec = "cp1252"
        self.stack: list[tuple[bool, int]] = []
        self.hidden, self.fallback, self.skip = False, 1, 0

    def read(self, data: bytes) -> str:
        for match in _RTF.finditer(data):
            self._handle_token(match)
        self._flush()
        return "".join(self.out).encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    def _handle_token(self, match: re.Match[bytes]) -> None:
        code, word, number, symbol, brace, _, text = match.groups()
        if brace == b"{":
            self.stack.append((self.hidden, self.fallback))
        elif brace == b"}":
            self.hidden, self.fallback = self.stack.pop() if self.stack else (False, 1)
        elif word is not None:
            self._handle_control_word(word, number)
        elif symbol is not None:
            self._handle_symbol(symbol)
        elif code is not None:
            self._append_bytes(bytes((int(code, 16),)))
        elif text is not None:
            self._append_bytes(text)

    def _handle_control_word(self, word: bytes, number: bytes | None) -> None:
        value = int(number or 0)
        if word in _RTF_HIDDEN_GROUPS:
            self.hidden = True
        elif word == b"ansicpg":
            self.codec = f"cp{value}"
        elif word == b"uc":
            self.fallback = min(max(value, 0), 10)
        elif word == b"u" and not self.hidden:
            self._flush()
            self.out.append(chr(value % 65_536))
            self.skip = self.fallback
        elif word in _RTF_WORDS and not self.hidden:
            self._flush()
            self.out.append(_RTF_WORDS[word])

    def _handle_symbol(self, symbol: bytes) -> None:
        if symbol == b"*":
            self.hidden = True
        elif symbol == b"~":
            self._append_bytes(b" ")
        elif symbol in b"{}\\":
            self._append_bytes(symbol)

    def _append_bytes(self, text: bytes) -> None:
        visible = text[self.skip :]
        self.skip = max(self.skip - len(text), 0)
        if not self.hidden:
            self.raw += visible

    def _flush(self) -> None:
        if self.raw:
            self.out.append(decode_text(bytes(self.raw), self.codec)[0])
            self.raw.clear()


def read_rtf(data: bytes) -> str:
    """Return the text of an RTF document without fonts, pictures and field instructions."""
    return _RtfReader().read(data[:MAX_TEXT_LENGTH]).strip()


_FOLD = re.compile(r"\r?\n[ \t]")
_PROPERTY = re.compile(r'([A-Za-z-]{1,40})((?:;[^:"]{0,300}(?:"[^"]{0,300}"[^:"]{0,300})*)?):(.*)')
_CN = re.compile(r';CN="?([^";:]{1,200})', re.I)
_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)\d{0,2}(Z?))?\Z")
_ZONE = re.compile(r';TZID="?([^";:]{1,100})', re.I)
_ESCAPES = re.compile(r"\\([nN,;\\])")
_METHODS = {"CANCEL": "Cancelled", "REPLY": "Answer to an invitation", "REQUEST": "Invitation"}
MAX_EVENTS = 20


def read_calendar(text: str) -> str:
    """Return subject, time, place, organiser and description of each event, or "" when there is no event."""
    text = _FOLD.sub("", text[:MAX_TEXT_LENGTH])
    method = ""
    event: dict[str, tuple[str, str]] | None = None
    events: list[str] = []
    for name, params, value in _read_properties(text):
        if name == "METHOD":
            method = value.strip().upper()
        elif (name, value.strip().upper()) == ("BEGIN", "VEVENT"):
            event = {}
        elif (name, value.strip().upper()) == ("END", "VEVENT") and event is not None:
            events.append(_show_event(event, _METHODS.get(method, "Appointment")))
            event = None
        elif event is not None:
            event.setdefault(name, (params, _ESCAPES.sub(_unescape, value).strip()))
    return "\n\n".join(events[:MAX_EVENTS])


def _read_properties(text: str) -> Iterator[tuple[str, str, str]]:
    for line in text.splitlines():
        match = _PROPERTY.match(line)
        if match is not None:
            yield match.group(1).upper(), match.group(2), match.group(3)


def _unescape(match: re.Match[str]) -> str:
    return "\n" if match.group(1) in "nN" else match.group(1)


def _show_event(event: dict[str, tuple[str, str]], kind: str) -> str:
    start, end = (_show_time(*event[name]) if name in event else "" for name in ("DTSTART", "DTEND"))
    lines = [
        (kind, event.get("SUMMARY", ("", ""))[1]),
        ("When", " – ".join(time for time in (start, end) if time)),
        ("Where", event.get("LOCATION", ("", ""))[1]),
        ("Organiser", _show_person(*event["ORGANIZER"]) if "ORGANIZER" in event else ""),
    ]
    header = "\n".join(f"{label}: {value}" for label, value in lines if value)
    return "\n\n".join(part for part in (header, event.get("DESCRIPTION", ("", ""))[1]) if part)


def _show_time(params: str, value: str) -> str:
    match = _TIME.match(value)
    if match is None:
        return value
    day = "-".join(match.group(1, 2, 3))
    if match.group(4) is None:
        return day
    zone = _ZONE.search(params)
    suffix = " UTC" if match.group(6) else f" ({zone.group(1)})" if zone else ""
    return f"{day} {match.group(4)}:{match.group(5)}{suffix}"


def _show_person(params: str, value: str) -> str:
    address = value[7:] if value[:7].lower() == "mailto:" else value
    name = _CN.search(params)
    return f"{name.group(1)} <{address}>" if name else address
