"""Fetch messages by UID in bounded batches, one by one when a batch fails, with one outcome for every UID."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from core import clock
from ingest.sources.imap.session import CONNECTION_ERRORS, MAIL_ERRORS, ImapSession, error_code

MAX_BATCH_MESSAGES = 100
#: The first batch of many messages is smaller, so that the parsers can start while the next one is being fetched.
FIRST_BATCH_MESSAGES = 50
#: Of one FETCH, and so of one transaction: SQLite's write lock is held while they are stored.
MAX_BATCH_BYTES = 4 * 1024 * 1024
#: Of an oversize message, at most this much of the header is stored.
MAX_HEADER_BYTES = 256 * 1024

_INFO_ITEMS = ["RFC822.SIZE", "INTERNALDATE"]


@dataclass(frozen=True, slots=True)
class FetchedMessage:
    """A message as the server sent it; ``oversize_bytes`` is its size when only the header was fetched."""

    uid: int
    raw: bytes
    received_at: datetime
    oversize_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class VanishedMessage:
    """A message that was expunged between the search and the fetch."""

    uid: int


@dataclass(frozen=True, slots=True)
class FetchFailure:
    """The server answered without the message; ``code`` is a snake_case reason."""

    uid: int
    code: str


FetchOutcome = FetchedMessage | VanishedMessage | FetchFailure


@dataclass(frozen=True, slots=True)
class MessageInfo:
    """Size and date of a message before it is fetched; ``size`` is in bytes, as the server claims."""

    uid: int
    size: int
    received_at: datetime


class FetchInterruptedError(Exception):
    """The connection was lost while the messages ``uids`` were being fetched."""

    def __init__(self, uids: Sequence[int], cause: BaseException) -> None:
        super().__init__(error_code(cause))
        self.uids = tuple(uids)
        self.cause = cause


def fetch_infos(session: ImapSession, uids: Sequence[int]) -> tuple[list[MessageInfo], list[FetchOutcome]]:
    """Return size and date of each message, and an outcome for each message that has none."""
    known: list[MessageInfo] = []
    outcomes: list[FetchOutcome] = []
    for uid, row in _fetch_each(session, uids, _INFO_ITEMS).items():
        size = row.get(b"RFC822.SIZE") if isinstance(row, dict) else None
        if isinstance(size, int) and isinstance(row, dict):
            known.append(MessageInfo(uid, size, _to_utc(row.get(b"INTERNALDATE"))))
        else:
            outcomes.append(row if isinstance(row, FetchFailure) else _explain_absence(session, uid))
    return known, outcomes


def split_uids(uids: Sequence[int]) -> Iterator[Sequence[int]]:
    """Split into a first chunk of :data:`FIRST_BATCH_MESSAGES` and further chunks of :data:`MAX_BATCH_MESSAGES`."""
    start, length = 0, FIRST_BATCH_MESSAGES
    while start < len(uids):
        yield uids[start : start + length]
        start += length
        length = MAX_BATCH_MESSAGES


def split_batches(infos: Sequence[MessageInfo], max_bytes: int) -> Iterator[list[MessageInfo]]:
    """Split into batches of at most :data:`MAX_BATCH_MESSAGES` and :data:`MAX_BATCH_BYTES`; a larger message goes alone.

    Of a message larger than ``max_bytes`` only the header is fetched.
    """
    batch: list[MessageInfo] = []
    size = 0
    for info in infos:
        weight = MAX_HEADER_BYTES if info.size > max_bytes else info.size
        if batch and (len(batch) >= MAX_BATCH_MESSAGES or size + weight > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(info)
        size += weight
    if batch:
        yield batch


def fetch_messages(session: ImapSession, infos: Sequence[MessageInfo], max_bytes: int) -> list[FetchOutcome]:
    """Fetch messages; return one outcome for each, in order. BODY.PEEK[] only: BODY[] would set ``\\Seen`` (RFC 9051 §6.4.5).

    Of a message larger than ``max_bytes`` only the header is fetched. Raises :class:`FetchInterruptedError` when the
    connection is lost.
    """
    whole = [info for info in infos if info.size <= max_bytes]
    rows = _fetch_each(session, [info.uid for info in whole], ["BODY.PEEK[]"])
    return [_make_outcome(session, info, rows.get(info.uid), max_bytes) for info in infos]


def _make_outcome(
    session: ImapSession, info: MessageInfo, row: dict[bytes, object] | FetchFailure | None, max_bytes: int
) -> FetchOutcome:
    if info.size > max_bytes:
        return _fetch_header(session, info, info.size)
    raw = row.get(b"BODY[]") if isinstance(row, dict) else None
    if not isinstance(raw, bytes):
        return row if isinstance(row, FetchFailure) else _explain_absence(session, info.uid)
    # The server's RFC822.SIZE may be wrong.
    if len(raw) > max_bytes:
        return FetchedMessage(info.uid, _cut_header(raw), info.received_at, len(raw))
    return FetchedMessage(info.uid, raw, info.received_at)


def _fetch_header(session: ImapSession, info: MessageInfo, size: int) -> FetchOutcome:
    row = _fetch_each(session, [info.uid], [f"BODY.PEEK[HEADER]<0.{MAX_HEADER_BYTES}>"])[info.uid]
    if isinstance(row, FetchFailure):
        return row
    header = next((value for key, value in (row or {}).items() if key.startswith(b"BODY[HEADER]")), None)
    return (
        FetchedMessage(info.uid, header, info.received_at, size)
        if isinstance(header, bytes)
        else _explain_absence(session, info.uid)
    )


def _cut_header(raw: bytes) -> bytes:
    ends = [end for end in (raw.find(b"\r\n\r\n"), raw.find(b"\n\n")) if end >= 0]
    return raw[: min([*ends, MAX_HEADER_BYTES])] + b"\r\n\r\n"


def _fetch_each(
    session: ImapSession, uids: Sequence[int], items: list[str]
) -> dict[int, dict[bytes, object] | FetchFailure | None]:
    """Return the answer for each UID. A batch that fails is fetched one by one, so that one bad message fails alone."""
    try:
        rows = session.fetch(uids, items)
        return {uid: rows.get(uid) for uid in uids}
    except CONNECTION_ERRORS as error:
        raise FetchInterruptedError(uids, error) from error
    except MAIL_ERRORS as error:
        if len(uids) == 1:
            return {uids[0]: _explain_failure(session, uids[0], error)}
    single: dict[int, dict[bytes, object] | FetchFailure | None] = {}
    for uid in uids:
        single |= _fetch_each(session, [uid], items)
    return single


def _explain_failure(session: ImapSession, uid: int, error: BaseException) -> FetchFailure | None:
    """Return the failure, or None for a vanished message: some servers refuse its FETCH (RFC 5530 EXPUNGEISSUED)."""
    try:
        return FetchFailure(uid, error_code(error)) if session.exists(uid) else None
    except CONNECTION_ERRORS as broken:
        raise FetchInterruptedError([uid], broken) from broken


def _explain_absence(session: ImapSession, uid: int) -> FetchOutcome:
    try:
        return FetchFailure(uid, "empty_answer") if session.exists(uid) else VanishedMessage(uid)
    except CONNECTION_ERRORS as error:
        raise FetchInterruptedError([uid], error) from error


def _to_utc(value: object) -> datetime:
    return value.astimezone(UTC) if isinstance(value, datetime) and value.tzinfo else clock.now()
