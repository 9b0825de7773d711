"""The oracle: what must be true after any fault, whatever was done to the processes (reliability.md)."""

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
#: How a nonce looks wherever it stands; `hostile` ones stand in mail that may become anything but a loss.
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
    """Assert all of it: each nonce one outcome, each ticket one creation notice, nothing doubled, open or unexplained.

    ``nonces`` are words that each stand in exactly one injected item; ``sink`` holds the mails that went out; ``poison``
    are those of the nonces that must be in quarantine, each with the ticket that says so; ``canaries`` are words that
    must be in no log, no mail that went out and no message of the broker at ``redis_url``.
    """
    sent = list(sink)
    _one_outcome_each(system, set(nonces), set(poison))
    _tickets_have_one_origin(system)
    _nothing_open(system)
    _one_delivery_a_key(system)
    _sink_matches_deliveries(system, sent)
    _no_word_got_out(system, sent, canaries, redis_url)
    _database_is_sound(system)


def _one_outcome_each(system: System, nonces: set[str], poison: set[str]) -> None:
    """By the bytes the ledger keeps: one item a nonce besides its duplicates; in quarantine the poison and nothing else."""
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
    assert not unknown, f"{unknown} items that nobody sent"
    quarantined = {nonce for nonce, outcomes in found.items() if outcomes == ["quarantined"]}
    total = system.count("inbound_item WHERE disposition = 'quarantined'")
    assert quarantined == poison and total == len(poison), f"quarantine is not the poison set: {quarantined ^ poison}, {total}"
    named_tickets = Counter(word for (name,) in system.rows("SELECT name FROM ticket") for word in set(name.split()))
    plain = {nonce for nonce in nonces - poison if not nonce.startswith("hostile")}
    nameless = {nonce: named_tickets[nonce] for nonce in plain if named_tickets[nonce] != 1}
    assert not nameless, f"nonces without exactly one ticket: {nameless}"
    assert system.count("sighting WHERE item_id NOT IN (SELECT id FROM inbound_item)") == 0, "a sighting of nothing"
    unseen = "inbound_item WHERE parent_id IS NULL AND id NOT IN (SELECT item_id FROM sighting)"
    assert system.count(unseen) == 0, "an item that was seen nowhere"


def _tickets_have_one_origin(system: System) -> None:
    rows = system.rows("SELECT ticket_id, disposition FROM inbound_item")
    origins = Counter(ticket for ticket, disposition in rows if disposition in ORIGINS)
    tickets = {ticket for (ticket,) in system.rows("SELECT id FROM ticket")}
    assert set(origins.values()) <= {1}, "two items share one ticket, each as if it were its own"
    assert set(origins) == tickets, "a ticket that nobody asked for, or an item without its ticket"


def _nothing_open(system: System) -> None:
    assert system.count("inbound_item WHERE state != 'settled'") == 0, "an item is open"
    assert system.count("outbox_fact WHERE done_at IS NULL") == 0, "a fact is open"
    assert system.count("delivery WHERE finished_at IS NULL") == 0, "a delivery is open"
    held = "delivery WHERE state IN ('pending', 'claimed', 'intent')"
    assert system.count(held) == 0, "a delivery is in a state that is not final"
    assert system.count("ticket WHERE creation_notice = 'pending' OR stage = 1") == 0, "a ticket is left 1-Submitted"
    without = "ticket WHERE NOT EXISTS (SELECT 1 FROM activity WHERE activity.ticket_id = ticket.id)"
    assert system.count(without) == 0, "a ticket without activity"


def _one_delivery_a_key(system: System) -> None:
    keys = Counter(key for (key,) in system.rows("SELECT key FROM delivery"))
    assert set(keys.values()) <= {1}, "two deliveries of one key"
    created = Counter(ticket for (ticket,) in system.rows("SELECT ticket_id FROM delivery WHERE mailing = 'ticket_created'"))
    tickets = {ticket for (ticket,) in system.rows("SELECT id FROM ticket")}
    assert set(created.values()) <= {1}, "a ticket has two creation notices"
    assert set(created) == tickets, "a ticket has no creation notice"
    failed = {ticket for (ticket,) in system.rows("SELECT id FROM ticket WHERE creation_notice IN ('failed', 'ambiguous')")}
    tasks = Counter(ticket for (ticket,) in system.rows("SELECT ticket_id FROM follow_up WHERE kind = 'notice_problem'"))
    assert set(tasks) == failed and set(tasks.values()) <= {1}, "an owner was not told of a failed notice, or was without one"


def _sink_matches_deliveries(system: System, sent: Sequence[bytes]) -> None:
    """Every Message-ID once in the sink, twice only when nobody could tell; none without a delivery, no byte changed."""
    seen = Counter(message_from_bytes(mail)["Message-ID"] for mail in sent)
    rows = system.rows("SELECT message_id, state, ambiguities, frozen FROM delivery WHERE message_id IS NOT NULL")
    known = {message_id: (state, ambiguities, bytes(frozen or b"")) for message_id, state, ambiguities, frozen in rows}
    assert len(known) == len(rows), "two deliveries of one Message-ID"
    assert set(seen) <= set(known), "a mail went out that no delivery knows of"
    changed = sum(_lines(mail) != _lines(known[message_from_bytes(mail)["Message-ID"]][2]) for mail in sent)
    assert not changed, f"{changed} mails went out with other bytes than were frozen"
    for message_id, (state, ambiguities, _) in known.items():
        least = 1 if state == "sent" else 0
        most = min(2, least + ambiguities)
        assert least <= seen[message_id] <= most, f"{state}, {seen[message_id]} times in the sink, {ambiguities} ambiguities"


def _lines(mail: bytes) -> list[bytes]:
    """Without what final delivery puts before it in a Maildir."""
    lines = mail.replace(b"\r\n", b"\n").rstrip(b"\n").split(b"\n")
    return [line for line in lines if not line.startswith((b"Return-Path:", b"Delivered-To:"))]


def _no_word_got_out(system: System, sent: Sequence[bytes], canaries: Iterable[str], redis_url: str) -> None:
    queued = _words_in_redis(redis_url) if redis_url else b""
    readable = [_readable(mail) for mail in sent]
    log = system.log
    for canary in canaries:
        assert canary not in log, "a word of a message is in the log"
        assert canary.encode() not in queued, "a word of a message is in Redis"
        assert not any(canary.encode() in mail for mail in readable), "a word of a message went out"


def _readable(mail: bytes) -> bytes:
    """A mail as it stands and with its parts decoded: a word may hide in base64."""
    parts = [part.get_payload(decode=True) for part in message_from_bytes(mail).walk() if not part.is_multipart()]
    return b"\n".join([mail, *(part for part in parts if isinstance(part, bytes))])


def _database_is_sound(system: System) -> None:
    if system.database_url.startswith("sqlite"):
        assert system.rows("PRAGMA integrity_check") == [("ok",)], "the database is damaged"
        assert system.rows("PRAGMA foreign_key_check") == [], "a row points at nothing"
        return
    for key in ("sighting: source, place", "inbound_item: family, identity", "delivery: key", "outbox_fact: id"):
        table, _, columns = key.partition(": ")
        assert not _heap_rows(system, f"SELECT {columns} FROM {table} GROUP BY {columns} HAVING count(*) > 1"), key
    assert not system.rows("SELECT conname FROM pg_constraint WHERE NOT convalidated"), "a constraint is not valid"


def _heap_rows(system: System, statement: str) -> list[Any]:
    """Read the rows themselves: an index that a crash had spoilt would hide what it forbids."""
    engine = create_engine(system.database_url)
    try:
        with engine.connect() as connection:
            for scan in ("indexscan", "indexonlyscan", "bitmapscan"):
                connection.execute(text(f"SET LOCAL enable_{scan} = off"))
            return list(connection.execute(text(statement)))
    finally:
        engine.dispose()


def _words_in_redis(url: str) -> bytes:
    """Everything the broker holds, in one piece."""
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
