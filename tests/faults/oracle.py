"""The oracle: what must be true after every fault (reliability.md)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from email import message_from_bytes
from typing import Any

import redis
from sqlalchemy import create_engine, text

from tests.e2e.system import System

FINAL = {"ticket", "appended", "duplicate", "own", "bounce", "automatic", "list", "expanded", "quarantined", "rejected"}
ORIGINS = {"ticket", "quarantined"}
#: The form of a nonce. Mail with a `hostile` nonce may have any outcome, but must not be lost.
NONCE = re.compile(rb"(?:mail|file|form|life|poison|hostile)\d+x")


def check(
    system: System,
    nonces: Collection[str],
    sink: Iterable[bytes],
    *,
    poison: Collection[str] = (),
    canaries: Iterable[str] = (),
    redis_url: str = "",
) -> None:
    """Assert that each nonce has one outcome and each ticket one creation notice, and that nothing is duplicated or open.

    ``nonces`` are words, each of which is in exactly one injected item. ``sink`` holds the sent mails. ``poison`` are the nonces
    that must be in quarantine, each with its ticket. ``canaries`` are words that must not be in the log, in a sent mail or in a
    message of the broker at ``redis_url``.
    """
    sent = list(sink)
    _check_outcomes(system, set(nonces), set(poison))
    _check_origins(system)
    _check_nothing_open(system)
    _check_deliveries(system)
    _check_sink(system, sent)
    _check_canaries(system, sent, canaries, redis_url)
    _check_database(system)


def _check_outcomes(system: System, nonces: set[str], poison: set[str]) -> None:
    """Check the stored bytes: one item for each nonce besides duplicates; in quarantine exactly the poison."""
    statement = "SELECT i.disposition, i.state, b.content FROM inbound_item i JOIN blob b ON b.sha256 = i.sha256"
    found: dict[str, list[str]] = {nonce: [] for nonce in nonces}
    unknown = 0
    for disposition, state, content in system.rows(f"{statement} WHERE i.parent_id IS NULL"):
        assert state == "settled" and disposition in FINAL, f"an item is left {state}, {disposition}"
        named = {word.decode() for word in NONCE.findall(bytes(content))} & nonces
        unknown += not named
        for nonce in named:
            if disposition != "duplicate" or nonce.startswith("hostile"):
                found[nonce].append(disposition)
    wrong = {nonce: outcomes for nonce, outcomes in found.items() if len(outcomes) != 1}
    assert not wrong, f"items without exactly one outcome: {wrong}"
    assert not unknown, f"{unknown} items that were not injected"
    quarantined = {nonce for nonce, outcomes in found.items() if outcomes == ["quarantined"]}
    total = system.count("inbound_item WHERE disposition = 'quarantined'")
    assert quarantined == poison and total == len(poison), f"quarantine is not the poison set: {quarantined ^ poison}, {total}"
    named_tickets = Counter(word for (name,) in system.rows("SELECT name FROM ticket") for word in set(name.split()))
    plain = {nonce for nonce in nonces - poison if not nonce.startswith("hostile")}
    nameless = {nonce: named_tickets[nonce] for nonce in plain if named_tickets[nonce] != 1}
    assert not nameless, f"nonces without exactly one ticket: {nameless}"
    assert system.count("sighting WHERE item_id NOT IN (SELECT id FROM inbound_item)") == 0, "a sighting without an item"
    unseen = "inbound_item WHERE parent_id IS NULL AND id NOT IN (SELECT item_id FROM sighting)"
    assert system.count(unseen) == 0, "an item without a sighting"


def _check_origins(system: System) -> None:
    rows = system.rows("SELECT ticket_id, disposition FROM inbound_item")
    origins = Counter(ticket for ticket, disposition in rows if disposition in ORIGINS)
    tickets = {ticket for (ticket,) in system.rows("SELECT id FROM ticket")}
    assert set(origins.values()) <= {1}, "two items share one ticket, each as if it were its own"
    assert set(origins) == tickets, "a ticket without an item, or an item without its ticket"


def _check_nothing_open(system: System) -> None:
    assert system.count("inbound_item WHERE state != 'settled'") == 0, "an item is open"
    assert system.count("outbox_fact WHERE done_at IS NULL") == 0, "a fact is open"
    assert system.count("delivery WHERE finished_at IS NULL") == 0, "a delivery is open"
    held = "delivery WHERE state IN ('pending', 'claimed', 'intent')"
    assert system.count(held) == 0, "a delivery is in a state that is not final"
    assert system.count("ticket WHERE creation_notice = 'pending' OR stage = 1") == 0, "a ticket is left 1-Submitted"
    without = "ticket WHERE NOT EXISTS (SELECT 1 FROM activity WHERE activity.ticket_id = ticket.id)"
    assert system.count(without) == 0, "a ticket without activity"


def _check_deliveries(system: System) -> None:
    keys = Counter(key for (key,) in system.rows("SELECT key FROM delivery"))
    assert set(keys.values()) <= {1}, "two deliveries of one key"
    created = Counter(ticket for (ticket,) in system.rows("SELECT ticket_id FROM delivery WHERE mailing = 'ticket_created'"))
    tickets = {ticket for (ticket,) in system.rows("SELECT id FROM ticket")}
    assert set(created.values()) <= {1}, "a ticket has two creation notices"
    assert set(created) == tickets, "a ticket has no creation notice"
    failed = {ticket for (ticket,) in system.rows("SELECT id FROM ticket WHERE creation_notice IN ('failed', 'ambiguous')")}
    tasks = Counter(ticket for (ticket,) in system.rows("SELECT ticket_id FROM follow_up WHERE kind = 'notice_problem'"))
    assert set(tasks) == failed and set(tasks.values()) <= {1}, (
        "a failed notice has no task for its owner, or a task has no failed notice"
    )


def _check_sink(system: System, sent: Sequence[bytes]) -> None:
    """Check that each Message-ID was sent once, twice only if ambiguous, with the frozen bytes, and only for a delivery."""
    seen = Counter(message_from_bytes(mail)["Message-ID"] for mail in sent)
    rows = system.rows("SELECT message_id, state, ambiguities, frozen FROM delivery WHERE message_id IS NOT NULL")
    known = {message_id: (state, ambiguities, bytes(frozen or b"")) for message_id, state, ambiguities, frozen in rows}
    assert len(known) == len(rows), "two deliveries of one Message-ID"
    assert set(seen) <= set(known), "a mail was sent without a delivery"
    changed = sum(_mail_lines(mail) != _mail_lines(known[message_from_bytes(mail)["Message-ID"]][2]) for mail in sent)
    assert not changed, f"{changed} mails were sent with other bytes than were frozen"
    for message_id, (state, ambiguities, _) in known.items():
        least = 1 if state == "sent" else 0
        most = min(2, least + ambiguities)
        assert least <= seen[message_id] <= most, f"{state}, {seen[message_id]} times in the sink, {ambiguities} ambiguities"


def _mail_lines(mail: bytes) -> list[bytes]:
    """Return the lines of a mail without the fields that delivery into a Maildir adds."""
    lines = mail.replace(b"\r\n", b"\n").rstrip(b"\n").split(b"\n")
    return [line for line in lines if not line.startswith((b"Return-Path:", b"Delivered-To:"))]


def _check_canaries(system: System, sent: Sequence[bytes], canaries: Iterable[str], redis_url: str) -> None:
    queued = _read_redis(redis_url) if redis_url else b""
    readable = [_decode_mail(mail) for mail in sent]
    log = system.log
    for canary in canaries:
        assert canary not in log, "a word of a message is in the log"
        assert canary.encode() not in queued, "a word of a message is in Redis"
        assert not any(canary.encode() in mail for mail in readable), "a word of a message is in a sent mail"


def _decode_mail(mail: bytes) -> bytes:
    """Return a mail with its decoded parts: a word may be in base64."""
    parts = [part.get_payload(decode=True) for part in message_from_bytes(mail).walk() if not part.is_multipart()]
    return b"\n".join([mail, *(part for part in parts if isinstance(part, bytes))])


def _check_database(system: System) -> None:
    if system.database_url.startswith("sqlite"):
        assert system.rows("PRAGMA integrity_check") == [("ok",)], "the database is damaged"
        assert system.rows("PRAGMA foreign_key_check") == [], "a foreign key is violated"
        return
    for key in ("sighting: source, place", "inbound_item: family, identity", "delivery: key", "outbox_fact: id"):
        table, _, columns = key.partition(": ")
        assert not _read_heap(system, f"SELECT {columns} FROM {table} GROUP BY {columns} HAVING count(*) > 1"), key
    assert not system.rows("SELECT conname FROM pg_constraint WHERE NOT convalidated"), "a constraint is not valid"


def _read_heap(system: System, statement: str) -> list[Any]:
    """Read the table without its indexes: an index damaged by a crash could hide the rows that it forbids."""
    engine = create_engine(system.database_url)
    try:
        with engine.connect() as connection:
            for scan in ("indexscan", "indexonlyscan", "bitmapscan"):
                connection.execute(text(f"SET LOCAL enable_{scan} = off"))
            return list(connection.execute(text(statement)))
    finally:
        engine.dispose()


def _read_redis(url: str) -> bytes:
    """Return all keys and values of the broker as bytes."""
    with redis.Redis.from_url(url) as client:
        read = {
            b"string": client.get,
            b"hash": client.hgetall,
            b"list": lambda key: client.lrange(key, 0, -1),
            b"set": client.smembers,
            b"zset": lambda key: client.zrange(key, 0, -1),
            b"stream": client.xrange,
        }
        kinds = {key: client.type(key) for key in client.scan_iter()}
        return repr([(key, read[kind](key)) for key, kind in kinds.items() if kind in read]).encode()
