"""The oracle itself: a sound system passes, and every kind of damage is reported."""

from __future__ import annotations

import base64
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis

from tests.e2e.system import System
from tests.faults import oracle
from tests.faults.trial import CANARY
from tests.servers.redis_server import RedisServer

MAILS = 3
OTHER_ID = "UPDATE delivery SET message_id = 'other'"


@dataclass
class Case:
    """A settled system, its input and its output; a test may damage each of them."""

    system: System
    nonces: list[str]
    sink: list[bytes]
    poison: list[str] = field(default_factory=list)
    redis_url: str = ""

    def sql(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.system.data / "casemill.db")) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()

    def check(self) -> None:
        oracle.check(self.system, self.nonces, self.sink, poison=self.poison, canaries=[CANARY], redis_url=self.redis_url)


@pytest.fixture(scope="module")
def at_rest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a system that has settled three mails."""
    folder = tmp_path_factory.mktemp("rest")
    mails = [folder / f"{number}.eml" for number in range(MAILS)]
    for number, mail in enumerate(mails):
        head = f"From: <p{number}@practice{number}.example>\r\nSubject: Question mail{number}x\r\n"
        mail.write_text(f"{head}Message-ID: <{number}@x.example>\r\n\r\n{CANARY}\r\n")
    with closing(System(folder)) as system:
        system.run("ingest", *map(str, mails))
    return folder


@pytest.fixture
def case(at_rest: Path, tmp_path: Path) -> Iterator[Case]:
    shutil.copytree(at_rest / "data", tmp_path / "data")
    sink = [file.read_bytes() for file in sorted((tmp_path / "data" / "sent" / "new").iterdir())]
    with closing(System(tmp_path)) as system:
        yield Case(system, [f"mail{number}x" for number in range(MAILS)], sink)


def test_sound_system_passes(case: Case) -> None:
    assert len(case.sink) == MAILS
    case.check()


DAMAGED_ROWS = {
    "an item is left waiting": "UPDATE inbound_item SET state = 'waiting' WHERE id = 1",
    "an item is left settled, failed": "UPDATE inbound_item SET disposition = 'failed' WHERE id = 1",
    "a ticket without an item": "UPDATE inbound_item SET disposition = 'automatic', ticket_id = NULL WHERE id = 1",
    "two items share one ticket": "UPDATE inbound_item SET ticket_id = 2 WHERE id = 1",
    "without exactly one outcome": "UPDATE inbound_item SET disposition = 'duplicate' WHERE id = 1",
    "nonces without exactly one ticket": "UPDATE ticket SET name = 'Question mail1x' WHERE id = 1",
    "quarantine is not the poison set": "UPDATE inbound_item SET disposition = 'quarantined' WHERE id = 1",
    "an item without a sighting": "DELETE FROM sighting WHERE item_id = 1",
    "a sighting without an item": "UPDATE sighting SET item_id = 99 WHERE id = (SELECT max(id) FROM sighting)",
    "a fact is open": "UPDATE outbox_fact SET done_at = NULL WHERE id = 1",
    "a delivery is open": "UPDATE delivery SET finished_at = NULL WHERE id = 1",
    "a state that is not final": "UPDATE delivery SET state = 'intent' WHERE id = 1",
    "left 1-Submitted": "UPDATE ticket SET stage = 1 WHERE id = 1",
    "a ticket without activity": "DELETE FROM activity WHERE ticket_id = 1",
    "no creation notice": "UPDATE delivery SET mailing = 'other' WHERE id = 1",
    "two creation notices": "UPDATE delivery SET ticket_id = 1 WHERE id = 2",
    "a failed notice has no task": "UPDATE ticket SET creation_notice = 'failed' WHERE id = 1",
    "sent without a delivery": f"{OTHER_ID} WHERE id = 1",
    "two deliveries of one Message-ID": OTHER_ID,
    "other bytes than were frozen": "UPDATE delivery SET frozen = CAST(frozen || 'x' AS BLOB) WHERE id = 1",
    "failed, 1 times in the sink": "UPDATE delivery SET state = 'failed' WHERE id = 1",
    "a foreign key is violated": "DELETE FROM blob WHERE sha256 = (SELECT sha256 FROM inbound_item WHERE id = 1)",
}


@pytest.mark.parametrize("message", DAMAGED_ROWS)
def test_damaged_row_is_reported(case: Case, message: str) -> None:
    case.sql(DAMAGED_ROWS[message])
    with pytest.raises(
        AssertionError, match=re.escape(message) if message != "a foreign key is violated" else "outcome|violated"
    ):
        case.check()


def lose_an_item(case: Case) -> None:
    case.nonces.append("mail77x")


def forget_an_item(case: Case) -> None:
    case.nonces.pop()


def expect_poison(case: Case) -> None:
    case.poison.append("mail0x")


def send_twice(case: Case) -> None:
    case.sink.append(case.sink[0])


def lose_a_notice(case: Case) -> None:
    case.sink.pop()


def send_three_times_in_doubt(case: Case) -> None:
    case.sql("UPDATE delivery SET ambiguities = 5")
    case.sink += case.sink[:1] * 2


def send_without_an_id(case: Case) -> None:
    case.sink.append(b"Subject: hello\r\n\r\nhello\r\n")


def write_canary_to_the_log(case: Case) -> None:
    (case.system.folder / "log").write_text(f"logged {CANARY}")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lose_an_item, "without exactly one outcome"),
        (forget_an_item, "that were not injected"),
        (expect_poison, "quarantine is not the poison set"),
        (send_twice, "2 times in the sink"),
        (lose_a_notice, "0 times in the sink"),
        (send_three_times_in_doubt, "3 times in the sink"),
        (send_without_an_id, "sent without a delivery"),
        (write_canary_to_the_log, "in the log"),
    ],
)
def test_wrong_input_or_output_is_reported(case: Case, damage: Callable[[Case], None], message: str) -> None:
    damage(case)
    with pytest.raises(AssertionError, match=message):
        case.check()


def test_ambiguous_mail_may_arrive_twice(case: Case) -> None:
    case.sql("UPDATE delivery SET ambiguities = 1")
    send_twice(case)
    case.check()


@pytest.mark.parametrize("encoding", ["7bit", "base64"])
def test_canary_in_a_sent_mail_is_reported(case: Case, encoding: str) -> None:
    body = base64.b64encode(CANARY.encode()).decode() if encoding == "base64" else CANARY
    (message_id,) = case.system.rows("SELECT message_id FROM delivery WHERE id = 1")[0]
    mail = f"Message-ID: {message_id}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{body}\r\n".encode()
    with closing(sqlite3.connect(case.system.data / "casemill.db")) as connection:
        connection.execute("UPDATE delivery SET frozen = ? WHERE id = 1", (mail,))
        connection.commit()
    case.sink = [mail, *(one for one in case.sink if message_id.encode() not in one)]
    with pytest.raises(AssertionError, match="in a sent mail"):
        case.check()


@pytest.mark.parametrize("kind", ["string", "hash", "list", "set", "zset", "stream"])
def test_canary_in_redis_is_reported(case: Case, kind: str, redis_server: RedisServer) -> None:
    case.redis_url = redis_server.url
    case.check()
    with redis.Redis.from_url(redis_server.url) as client:
        writes: dict[str, Callable[[], object]] = {
            "string": lambda: client.set("key", CANARY),
            "hash": lambda: client.hset("key", "field", CANARY),
            "list": lambda: client.rpush("key", CANARY),
            "set": lambda: client.sadd("key", CANARY),
            "zset": lambda: client.zadd("key", {CANARY: 1}),
            "stream": lambda: client.xadd("key", {"field": CANARY}),
        }
        writes[kind]()
    with pytest.raises(AssertionError, match="in Redis"):
        case.check()


def test_damaged_database_is_reported(case: Case) -> None:
    case.sql("DROP INDEX ix_delivery_due", "PRAGMA writable_schema = ON")
    case.sql(
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master WHERE name = 'ix_inbound_item_due') "
        "WHERE name = 'ix_delivery_claim_until'",
    )
    with pytest.raises(AssertionError, match="damaged"):
        case.check()
