"""The only address parser: strict about the sender (security.md, rule 3), lenient about lists of recipients.

One pass over the value, so that 100,000 addresses take linear time. The structure is read from the raw value. Encoded words
are decoded only in display names, so that a name can never become an address (RFC 2047 §5).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import idna

from ingest.parsers.mail.headers import Headers, clean_text, decode_words

MAX_ADDRESSES = 200

_QUOTED = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)("|\\?\Z)', re.S)
_PLAIN = re.compile(r'[^(),;:<>"]+')
_IN_COMMENT = re.compile(r"[()\\]")
_PAIR = re.compile(r"\\(.)", re.S)
_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*\Z")
_DOMAIN = re.compile(
    r"(?=.{1,253}\Z)(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)(?:\.[A-Za-z0-9]"
    r"(?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*\Z"
)


@dataclass
class AddressItem:
    """One member of an address list as written. ``flags`` names the features that a plain mailbox does not have."""

    phrase: list[str] = field(default_factory=list)
    spec: str | None = None
    flags: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        """The decoded display name, or "" when the item has no address in angle brackets."""
        return clean_text(decode_words("".join(self.phrase))) if self.spec is not None else ""

    @property
    def quoted(self) -> bool:
        """Whether the local part is quoted."""
        if self.spec is not None:
            return "quoted_local_part" in self.flags
        return any(isinstance(part, _QuotedText) for part in self.phrase)

    @property
    def address_text(self) -> str:
        """The address as written: the text in angle brackets, or the whole item."""
        return (self.spec if self.spec is not None else "".join(self.phrase)).strip()


class SenderAddress(NamedTuple):
    """``address`` is set only for exactly one plain mailbox; otherwise ``problem`` holds the reason code."""

    address: str | None
    name: str | None
    problem: str | None


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.items: list[AddressItem] = []
        self.item = AddressItem()
        self.angle: list[str] | None = None
        self.in_group = False

    def scan(self) -> list[AddressItem]:
        position, length = 0, len(self.text)
        while position < length:
            character = self.text[position]
            if character == '"':
                position = self._read_quoted(position)
            elif character == "(":
                position = self._skip_comment(position)
            elif character in "),;:<>":
                self._read_special(character)
                position += 1
            else:
                match = _PLAIN.match(self.text, position)
                assert match is not None  # noqa: S101 - every other character was handled above
                self._append_text(match.group())
                position = match.end()
        if self.angle is not None:
            self._close_angle()
            self.item.flags.add("odd_address")
        if self.in_group:
            self.item.flags.add("group_address")
        self._finish_item()
        return self.items

    def _append_text(self, text: str) -> None:
        if self.angle is not None:
            self.angle.append(text)
        else:
            if self.item.spec is not None and text.strip():
                self.item.flags.add("odd_address")
            self.item.phrase.append(text)

    def _read_quoted(self, position: int) -> int:
        match = _QUOTED.match(self.text, position)
        assert match is not None  # noqa: S101 - the pattern also takes an unclosed quote
        if match.group(2) != '"':
            self.item.flags.add("odd_address")
        if self.angle is not None:
            self.item.flags.add("quoted_local_part")
            self._append_text(match.group())
        else:
            self.item.phrase.append(_QuotedText(_PAIR.sub(r"\1", match.group(1))))
            if self.item.spec is not None:
                self.item.flags.add("odd_address")
        return match.end()

    def _skip_comment(self, position: int) -> int:
        self.item.flags.add("comment_in_address")
        depth = 0
        while (match := _IN_COMMENT.search(self.text, position)) is not None:
            position = match.end()
            if match.group() == "\\":
                position += 1
                continue
            depth += 1 if match.group() == "(" else -1
            if depth == 0:
                return position
        self.item.flags.add("odd_address")
        return len(self.text)

    def _read_special(self, character: str) -> None:
        if self.angle is not None and character in ",;:<":
            # A source route or a second bracket.
            self.item.flags.add("odd_address")
            self.angle.append(character)
        elif character == "<":
            if self.item.spec is not None:
                self.item.flags.add("odd_address")
            self.angle = []
        elif character == ">" and self.angle is not None:
            self._close_angle()
        elif character == ":":
            self.in_group, self.item = True, AddressItem(flags={"group_address"})
        elif character in ",;":
            if self.in_group or character == ";":
                self.item.flags.add("group_address")
            self._finish_item()
            self.in_group = self.in_group and character == ","
        else:
            self.item.flags.add("odd_address")

    def _close_angle(self) -> None:
        spec = "".join(self.angle or [])
        self.item.spec = spec if self.item.spec is None else self.item.spec + " " + spec
        self.angle = None

    def _finish_item(self) -> None:
        if self.item.address_text or self.item.spec is not None or self.item.flags:
            self.items.append(self.item)
        self.item = AddressItem()


class _QuotedText(str):
    """A quoted part of a display name: an at sign in it does not make an address."""

    __slots__ = ()


def scan_addresses(text: str) -> list[AddressItem]:
    """Split an address list into its members. Comments are dropped and groups opened (RFC 5322 §3.4). Never raises."""
    return _Scanner(text).scan()


def read_mailbox(spec: str) -> str | None:
    """Return ``local@domain`` in lower case with an ASCII (IDNA 2008) domain, or None for any address that is not plain."""
    local, at, domain = spec.rpartition("@")
    if not at or len(local) > 64 or not _LOCAL.match(local):
        return None
    if not domain.isascii() or "xn--" in domain.lower():
        try:
            domain = idna.encode(domain, uts46=True).decode("ascii")
            idna.decode(domain)
        except (idna.IDNAError, UnicodeError, ValueError):
            return None
    if not _DOMAIN.match(domain):
        return None
    return f"{local}@{domain}".lower()


def read_sender(headers: Headers) -> SenderAddress:
    """Return the sender: exactly one From field with one plain mailbox, otherwise the reason why there is none."""
    values = headers.read_raw_text("from")
    if not values or not any(value.strip() for value in values):
        return SenderAddress(None, None, "no_from")
    if len(values) > 1:
        return SenderAddress(None, None, "several_from")
    items = scan_addresses(values[0])
    if len(items) == 1:
        name = items[0].name or None
        problem = _find_problem(items[0])
        return SenderAddress(None if problem else read_mailbox(items[0].address_text), name, problem)
    plain = [item for item in items if read_mailbox(item.address_text)]
    if not items:
        return SenderAddress(None, None, "no_from")
    if any("group_address" in item.flags for item in items):
        return SenderAddress(None, None, "group_address")
    return SenderAddress(None, None, "several_addresses" if len(plain) > 1 else "odd_address")


def _find_problem(item: AddressItem) -> str | None:
    for flag in ("group_address", "comment_in_address"):
        if flag in item.flags:
            return flag
    if item.quoted and "odd_address" not in item.flags:
        return "quoted_local_part"
    spec = item.address_text
    if "=?" in spec:
        return "encoded_address"
    mailbox = read_mailbox(spec)
    if "odd_address" in item.flags or mailbox is None:
        return "odd_address"
    unquoted_text = "".join(part for part in item.phrase if not isinstance(part, _QuotedText)).strip()
    # `a@x <b@y>` names two people, and mail programs differ on which one is the sender.
    if item.spec is not None and "@" in unquoted_text and unquoted_text.lower() != mailbox:
        return "odd_address"
    return None


def read_lists(headers: Headers, *names: str) -> tuple[tuple[str, ...], ...]:
    """Return the plain addresses of each named field, each once, in order. All fields share the limit MAX_ADDRESSES."""
    remaining = MAX_ADDRESSES
    lists = []
    for name in names:
        found = read_list(headers.read_raw_text(name))
        if len(found) > remaining:
            headers.notes.append("addresses_cut")
        lists.append(found[:remaining])
        remaining -= len(lists[-1])
    return tuple(lists)


def read_list(values: Iterable[str]) -> tuple[str, ...]:
    """Return the plain addresses in field values. Addresses that are not plain are left out."""
    items = (item for value in values for item in scan_addresses(value))
    found = (read_mailbox(item.address_text) for item in items if "odd_address" not in item.flags and not item.quoted)
    return tuple(dict.fromkeys(address for address in found if address))


def read_from_local_part(headers: Headers) -> str:
    """Return the lower-case local part of the first From member, also for `MAILER-DAEMON` without a domain."""
    for value in headers.read_raw_text("from")[:1]:
        for item in scan_addresses(value):
            return item.address_text.strip('"').partition("@")[0].strip().lower()
    return ""
