"""The oracle: what must be true after any fault, whatever was done to the processes (reliability.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from email import message_from_bytes
from typing import Any

import redis
from sqlalchemy import create_engine, text

from tests.e2e.system import System

FINAL = {"ticket", "appended", "duplicate", "own", "bounce", "automatic", "list", "expanded", "quarantined", "rejected"}


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
    _one_outcome_each(system, nonces, poison)
    _nothing_open(system)
    _one_delivery_a_key(system)
    sent = list(sink)
    _sink_matches_deliveries(system, sent)
    quarantined = system.count("inbound_item WHERE disposition = 'quarantined'")
    assert quarantined == len(poison), f"{quarantined} quarantined, {len(poison)} expected"
    queued = _words_in_redis(redis_url) if redis_url else b""
    for canary in canaries:
        assert canary not in system.log, "a word of a message is in the log"
        assert canary.encode() not in queued, "a word of a message is in Redis"
        assert not any(canary.encode() in mail for mail in sent), "a word of a message went out"
    _database_is_sound(system)


def _one_outcome_each(system: System, nonces: Collection[str], poison: Collection[str]) -> None:
    """Each ticket's name holds one nonce; only what nobody could read has a ticket without."""
    named = Counter(word for (name,) in system.rows("SELECT name FROM ticket") for word in set(name.split()))
    wrong = {nonce: named[nonce] for nonce in nonces if named[nonce] != (0 if nonce in poison else 1)}
    assert not wrong, f"items without exactly one ticket: {wrong}"
    assert system.count("ticket") == len(nonces), "there are tickets that nobody asked for"
    dispositions = {disposition for (disposition,) in system.rows("SELECT DISTINCT disposition FROM inbound_item")}
    assert dispositions <= FINAL, f"dispositions that are not final: {dispositions - FINAL}"
    with_ticket = "inbound_item WHERE disposition IN ('ticket', 'quarantined')"
    assert system.count(with_ticket) == len(nonces), "an item has no outcome of its own, or two items share one"
    assert system.count("sighting WHERE item_id NOT IN (SELECT id FROM inbound_item)") == 0


def _nothing_open(system: System) -> None:
    assert system.count("inbound_item WHERE state != 'settled'") == 0
    assert system.count("outbox_fact WHERE done_at IS NULL") == 0
    assert system.count("delivery WHERE finished_at IS NULL") == 0
    assert system.count("ticket WHERE creation_notice = 'pending' OR stage = 1") == 0
    without = "ticket WHERE NOT EXISTS (SELECT 1 FROM activity WHERE activity.ticket_id = ticket.id)"
    assert system.count(without) == 0


def _one_delivery_a_key(system: System) -> None:
    created = Counter(
        ticket for (ticket,) in system.rows("SELECT ticket_id FROM delivery WHERE mailing = 'ticket_created'")
    )
    tickets = {ticket for (ticket,) in system.rows("SELECT id FROM ticket")}
    assert set(created) == tickets, "a ticket has no creation notice"
    assert set(created.values()) <= {1}, "a ticket has two creation notices"


def _sink_matches_deliveries(system: System, sent: list[bytes]) -> None:
    """Every Message-ID once in the sink, twice only when nobody could tell; none without a delivery."""
    seen = Counter(message_from_bytes(mail)["Message-ID"] for mail in sent)
    rows = system.rows("SELECT message_id, state, ambiguities FROM delivery")
    known = {message_id: (state, ambiguities) for message_id, state, ambiguities in rows}
    assert set(seen) <= set(known), "a mail went out that no delivery knows of"
    for message_id, (state, ambiguities) in known.items():
        if state == "sent":
            assert 1 <= seen[message_id] <= 1 + ambiguities, f"sent {seen[message_id]} times, {ambiguities} ambiguities"
        elif state != "ambiguous":
            assert seen[message_id] == 0, f"{state}, but it went out"


def _database_is_sound(system: System) -> None:
    if system.database_url.startswith("sqlite"):
        assert system.rows("PRAGMA integrity_check") == [("ok",)]
        assert system.rows("PRAGMA foreign_key_check") == []
        return
    for key in ("sighting: source, place", "inbound_item: family, identity", "delivery: key", "outbox_fact: id"):
        table, _, columns = key.partition(": ")
        assert not _heap_rows(system, f"SELECT {columns} FROM {table} GROUP BY {columns} HAVING count(*) > 1"), key
    assert not system.rows("SELECT conname FROM pg_constraint WHERE NOT convalidated")


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
        kinds = {key: client.type(key) for key in client.scan_iter()}
        hashes = [client.hgetall(key) for key, kind in kinds.items() if kind == b"hash"]
        lists = [client.lrange(key, 0, -1) for key, kind in kinds.items() if kind == b"list"]
        sets = [client.zrange(key, 0, -1) for key, kind in kinds.items() if kind == b"zset"]
    return repr([kinds, hashes, lists, sets]).encode()
