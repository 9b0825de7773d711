"""Wake-ups for new messages, and polling while there is no subscription."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from redis import Redis

from runtime import redis_wakeups
from runtime.redis_wakeups import CHANNEL, WakeupChannel
from tests.servers.redis_server import RedisServer
from tests.waiting import poll_until, scale_budget


@pytest.fixture
def client(redis_url: str) -> Iterator[Redis]:
    client = Redis.from_url(redis_url)
    yield client
    client.close()


@pytest.fixture
def make_channel(client: Redis) -> Iterator[Callable[[], WakeupChannel]]:
    """Makes channels that are closed at the end of the test."""
    channels: list[WakeupChannel] = []

    def make() -> WakeupChannel:
        channels.append(WakeupChannel(client))
        return channels[-1]

    yield make
    for channel in channels:
        channel.close()


def wait_for_subscribers(client: Redis, count: int = 1) -> bool:
    return poll_until(lambda: client.pubsub_numsub(CHANNEL)[0][1] == count, 30)


def start_waiting(channel: WakeupChannel, queue: str, sequence: int) -> threading.Event:
    """Wait for a wake-up in a thread; the event is set once the wait is over."""
    over = threading.Event()

    def work() -> None:
        channel.wait(queue, sequence)
        over.set()

    threading.Thread(target=work, daemon=True).start()
    return over


@pytest.fixture(autouse=True)
def no_polling_while_subscribed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a wake-up ends the wait of a subscribed consumer."""
    monkeypatch.setattr(redis_wakeups, "SUBSCRIBED_POLL_SECONDS", 600.0)


def test_wakeup_ends_wait_of_its_own_queue(client: Redis, make_channel: Callable[[], WakeupChannel]) -> None:
    mine, other = make_channel(), make_channel()
    sequence = mine.sequence("ingest")
    assert wait_for_subscribers(client)
    over = start_waiting(mine, "ingest", sequence)
    other.publish("outbox")
    assert not over.wait(0.5)
    other.publish("ingest")
    assert over.wait(scale_budget(30))


def test_wakeup_between_poll_and_wait_is_not_missed(client: Redis, make_channel: Callable[[], WakeupChannel]) -> None:
    channel = make_channel()
    sequence = channel.sequence("ingest")
    assert wait_for_subscribers(client)
    channel.publish("ingest")
    assert poll_until(lambda: channel.sequence("ingest") == sequence + 1, 30)
    assert start_waiting(channel, "ingest", sequence).wait(scale_budget(30))


def test_consumer_without_subscription_polls_soon(redis_server: RedisServer) -> None:
    client = Redis.from_url(redis_server.url)
    redis_server.kill()
    channel = WakeupChannel(client)
    sequence = channel.sequence("ingest")
    assert start_waiting(channel, "ingest", sequence).wait(scale_budget(30))
    # Must not raise although Redis is down.
    channel.publish("ingest")
    redis_server.start()
    assert wait_for_subscribers(client)
    over = start_waiting(channel, "ingest", channel.sequence("ingest"))
    assert not over.wait(0.5)
    channel.publish("ingest")
    assert over.wait(scale_budget(30))
    channel.close()
    assert wait_for_subscribers(client, 0)
    client.close()


def test_listener_subscribes_again_after_lost_connection(client: Redis, make_channel: Callable[[], WakeupChannel]) -> None:
    channel = make_channel()
    sequence = channel.sequence("ingest")
    assert wait_for_subscribers(client)
    client.client_kill_filter(_type="pubsub")
    assert wait_for_subscribers(client)
    time.sleep(0.2)
    over = start_waiting(channel, "ingest", sequence)
    channel.publish("ingest")
    assert over.wait(scale_budget(30))
