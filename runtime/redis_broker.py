"""The broker behind Redis: Dramatiq's own, with bells. Imported only where Redis is configured."""

from __future__ import annotations

import time
from typing import Any

from dramatiq import Broker, Message, Middleware
from dramatiq.brokers.redis import RedisBroker, _RedisConsumer
from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from runtime.redis_wakeups import UNSUBSCRIBED_POLL_SECONDS, WakeupChannel


def connect(url: str) -> Redis:
    """A client that tries again and never waits for ever."""
    return Redis.from_url(
        url,
        retry=Retry(ExponentialBackoff(cap=1, base=0.05), 5),
        retry_on_error=[RedisConnectionError, RedisTimeoutError],
        socket_connect_timeout=3,
        socket_timeout=10,
        health_check_interval=15,
    )


class WakeupRedisBroker(RedisBroker):
    """Rings for each message."""

    def __init__(self, url: str, middleware: list[Middleware]) -> None:
        client = connect(url)
        self.wakeups = WakeupChannel(client)
        options: dict[str, Any] = {"client": client, "middleware": middleware, "heartbeat_timeout": 15_000}
        super().__init__(namespace="casemill", **options)  # type: ignore[no-untyped-call]

    @property
    def consumer_class(self) -> type[WakeupConsumer]:
        return WakeupConsumer

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        sent = super().enqueue(message, delay=delay)
        self.wakeups.publish(sent.queue_name)
        return sent

    def close(self) -> None:
        self.wakeups.close()
        super().close()


class WakeupConsumer(_RedisConsumer):
    """Looks for messages when there is word of one: each look costs it and Redis half a millisecond.

    Of itself it would look every few milliseconds after each message, and a message that came to an idle worker would wait up to
    a second.
    """

    def __init__(self, broker: Broker, queue_name: str, prefetch: int, timeout: int) -> None:
        # Without a time-out of its own it looks once and leaves it to us to wait.
        super().__init__(broker, queue_name, prefetch, 0)  # type: ignore[no-untyped-call]

    def __next__(self) -> Any:
        bells: WakeupChannel = self.broker.wakeups
        heard = bells.sequence(self.queue_name)
        message = super().__next__()  # type: ignore[no-untyped-call]
        if message is None and self.outstanding_message_count >= self.prefetch:
            time.sleep(UNSUBSCRIBED_POLL_SECONDS)  # it did not look: those it has are not yet worked on
        elif message is None:
            bells.wait(self.queue_name, heard)
        return message
