"""Getting messages by UID: in batches that fit, one by one when a batch fails, and every UID with a word about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from core import clock
from ingest.sources.imap.session import BROKEN, MAIL_ERRORS, ImapSession, error_code

BATCH_MESSAGES = 100
#: Of many messages the first few are taken by themselves, so that the parsers have something to do while the next ones come.
FIRST_MESSAGES = 50
#: Bytes of one FETCH, and so of one transaction: SQLite's write lock is held while they are stored.
BATCH_BYTES = 4 * 1024 * 1024
#: Of a message too large to take, this much of its header is kept.
HEADER_BYTES = 256 * 1024

_ABOUT = ["RFC822.SIZE", "INTERNALDATE"]


@dataclass(frozen=True, slots=True)
class Message:
    """A message as the server has it; ``oversize`` is its size in bytes when only the header was taken."""

    uid: int
    raw: bytes
    received_at: datetime
    oversize: int | None = None


@dataclass(frozen=True, slots=True)
class Vanished:
    """The UID was expunged between the search and the fetch."""

    uid: int


@dataclass(frozen=True, slots=True)
class Failure:
    """The server answered, but the message could not be had; ``code`` is a snake_case reason."""

    uid: int
    code: str


Outcome = Message | Vanished | Failure


@dataclass(frozen=True, slots=True)
class About:
    """What is known of a message before it is fetched; ``size`` in bytes as the server claims."""

    uid: int
    size: int
    received_at: datetime


class FetchBrokenError(Exception):
    """The connection broke while the messages ``uids`` were on their way."""

    def __init__(self, uids: Sequence[int], cause: BaseException) -> None:
        super().__init__(error_code(cause))
        self.uids = tuple(uids)
        self.cause = cause


def look_up(session: ImapSession, uids: Sequence[int]) -> tuple[list[About], list[Outcome]]:
    """Size and date of each message, and an outcome for each that could not be looked up."""
    known: list[About] = []
    outcomes: list[Outcome] = []
    for uid, row in _fetch_each(session, uids, _ABOUT).items():
        size = row.get(b"RFC822.SIZE") if isinstance(row, dict) else None
        if isinstance(size, int) and isinstance(row, dict):
            known.append(About(uid, size, _utc(row.get(b"INTERNALDATE"))))
        else:
            outcomes.append(row if isinstance(row, Failure) else _absent(session, uid))
    return known, outcomes


def chunks(uids: Sequence[int]) -> Iterator[Sequence[int]]:
    """Cut into a first piece of :data:`FIRST_MESSAGES` and further ones of :data:`BATCH_MESSAGES`."""
    at, length = 0, FIRST_MESSAGES
    while at < len(uids):
        yield uids[at : at + length]
        at += length
        length = BATCH_MESSAGES


def batches(abouts: Sequence[About], limit: int, single: bool = False) -> Iterator[list[About]]:
    """Cut into batches of at most :data:`BATCH_MESSAGES` and :data:`BATCH_BYTES`; one larger than that goes alone.

    ``limit`` is the size from which only a header is fetched; ``single`` makes every batch one message.
    """
    batch: list[About] = []
    size = 0
    for about in abouts:
        weight = HEADER_BYTES if about.size > limit else about.size
        if batch and (single or len(batch) >= BATCH_MESSAGES or size + weight > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(about)
        size += weight
    if batch:
        yield batch


def fetch(session: ImapSession, abouts: Sequence[About], limit: int) -> list[Outcome]:
    """One outcome for each message, in order. BODY.PEEK[] only: BODY[] would set ``\\Seen`` (RFC 9051 §6.4.5).

    Raises :class:`FetchBrokenError` when the connection broke.
    """
    taken = [about for about in abouts if about.size <= limit]
    rows = _fetch_each(session, [about.uid for about in taken], ["BODY.PEEK[]"])
    return [_outcome(session, about, rows.get(about.uid), limit) for about in abouts]


def _outcome(session: ImapSession, about: About, row: dict[bytes, object] | Failure | None, limit: int) -> Outcome:
    if about.size > limit:
        return _fetch_header(session, about, about.size)
    raw = row.get(b"BODY[]") if isinstance(row, dict) else None
    if not isinstance(raw, bytes):
        return row if isinstance(row, Failure) else _absent(session, about.uid)
    if len(raw) > limit:  # the server's RFC822.SIZE was wrong
        return Message(about.uid, _header_of(raw), about.received_at, len(raw))
    return Message(about.uid, raw, about.received_at)


def _fetch_header(session: ImapSession, about: About, size: int) -> Outcome:
    row = _fetch_each(session, [about.uid], [f"BODY.PEEK[HEADER]<0.{HEADER_BYTES}>"])[about.uid]
    if isinstance(row, Failure):
        return row
    header = next((value for key, value in (row or {}).items() if key.startswith(b"BODY[HEADER]")), None)
    return Message(about.uid, header, about.received_at, size) if isinstance(header, bytes) else _absent(session, about.uid)


def _header_of(raw: bytes) -> bytes:
    ends = [end for end in (raw.find(b"\r\n\r\n"), raw.find(b"\n\n")) if end >= 0]
    return raw[: min([*ends, HEADER_BYTES])] + b"\r\n\r\n"


def _fetch_each(session: ImapSession, uids: Sequence[int], items: list[str]) -> dict[int, dict[bytes, object] | Failure | None]:
    """The answer for each UID; a batch that fails as a whole is fetched one by one, so that one bad message fails alone."""
    try:
        rows = session.fetch(uids, items)
        return {uid: rows.get(uid) for uid in uids}
    except BROKEN as error:
        raise FetchBrokenError(uids, error) from error
    except MAIL_ERRORS as error:
        if len(uids) == 1:
            return {uids[0]: _failure(session, uids[0], error)}
    alone: dict[int, dict[bytes, object] | Failure | None] = {}
    for uid in uids:
        alone |= _fetch_each(session, [uid], items)
    return alone


def _failure(session: ImapSession, uid: int, error: BaseException) -> Failure | None:
    """Some servers refuse the FETCH of a message that is gone (RFC 5530 EXPUNGEISSUED): that is no failure of it."""
    try:
        return Failure(uid, error_code(error)) if session.exists(uid) else None
    except BROKEN as broken:
        raise FetchBrokenError([uid], broken) from broken


def _absent(session: ImapSession, uid: int) -> Outcome:
    try:
        return Failure(uid, "empty_answer") if session.exists(uid) else Vanished(uid)
    except BROKEN as error:
        raise FetchBrokenError([uid], error) from error


def _utc(value: object) -> datetime:
    return value.astimezone(UTC) if isinstance(value, datetime) and value.tzinfo else clock.now()
