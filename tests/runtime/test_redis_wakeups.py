"""Word of a new message, and what is done where none can be heard."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from redis import Redis

from runtime import redis_wakeups
from runtime.redis_wakeups import CHANNEL, WakeupChannel
from tests.servers.redis_server import RedisServer
from tests.waiting import poll_until


@pytest.fixture
def client(redis_url: str) -> Iterator[Redis]:
    client = Redis.from_url(redis_url)
    yield client
    client.close()


@pytest.fixture
def listen(client: Redis) -> Iterator[Callable[[], WakeupChannel]]:
    """Makes bells that are closed in the end."""
    made: list[WakeupChannel] = []

    def make() -> WakeupChannel:
        made.append(WakeupChannel(client))
        return made[-1]

    yield make
    for one in made:
        one.close()


def hears(client: Redis, count: int = 1) -> bool:
    return poll_until(lambda: client.pubsub_numsub(CHANNEL)[0][1] == count, 30)


def wait(one: WakeupChannel, queue: str, heard: int) -> threading.Event:
    """Set once the wait is over."""
    over = threading.Event()

    def work() -> None:
        one.wait(queue, heard)
        over.set()

    threading.Thread(target=work, daemon=True).start()
    return over


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who hears would wait for ever."""
    monkeypatch.setattr(redis_wakeups, "HEARING_SECONDS", 600.0)


def test_who_waits_hears_the_bell_of_its_own_queue(client: Redis, listen: Callable[[], WakeupChannel]) -> None:
    mine, other = listen(), listen()
    heard = mine.sequence("ingest")
    assert hears(client)
    over = wait(mine, "ingest", heard)
    other.publish("outbox")
    assert not over.wait(0.5)
    other.publish("ingest")
    assert over.wait(30)


def test_a_bell_between_the_look_and_the_wait_is_not_missed(client: Redis, listen: Callable[[], WakeupChannel]) -> None:
    one = listen()
    heard = one.sequence("ingest")
    assert hears(client)
    one.publish("ingest")
    assert poll_until(lambda: one.sequence("ingest") == heard + 1, 30)
    assert wait(one, "ingest", heard).wait(30)


def test_who_cannot_hear_looks_soon(redis_server: RedisServer) -> None:
    client = Redis.from_url(redis_server.url)
    redis_server.kill()
    one = WakeupChannel(client)
    heard = one.sequence("ingest")
    assert wait(one, "ingest", heard).wait(30)
    one.publish("ingest")  # says nothing, as nobody is there
    redis_server.start()
    assert hears(client)
    over = wait(one, "ingest", one.sequence("ingest"))
    assert not over.wait(0.5)
    one.publish("ingest")
    assert over.wait(30)
    one.close()
    assert hears(client, 0)
    client.close()


def test_a_listener_that_was_cut_off_listens_again(client: Redis, listen: Callable[[], WakeupChannel]) -> None:
    one = listen()
    heard = one.sequence("ingest")
    assert hears(client)
    client.client_kill_filter(_type="pubsub")
    assert hears(client)
    time.sleep(0.2)
    over = wait(one, "ingest", heard)
    one.publish("ingest")
    assert over.wait(30)
