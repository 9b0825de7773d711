"""The Redis broker: Dramatiq's own, with wake-ups. Imported only where Redis is configured."""

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
    """Return a client whose commands are retried and have time-outs."""
    return Redis.from_url(
        url,
        retry=Retry(ExponentialBackoff(cap=1, base=0.05), 5),
        retry_on_error=[RedisConnectionError, RedisTimeoutError],
        socket_connect_timeout=3,
        socket_timeout=10,
        health_check_interval=15,
    )


class WakeupRedisBroker(RedisBroker):
    """A Redis broker that publishes a wake-up for each message, for the consumers that wait for one."""

    def __init__(self, url: str, middleware: list[Middleware]) -> None:
        client = connect(url)
        self.wakeups = WakeupChannel(client)
        options: dict[str, Any] = {"client": client, "middleware": middleware, "heartbeat_timeout": 15_000}
        super().__init__(namespace="casemill", **options)  # type: ignore[no-untyped-call]

    @property
    def consumer_class(self) -> type[WakeupConsumer]:
        return WakeupConsumer

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        """Enqueue ``message``, then wake the consumers of its queue."""
        sent = super().enqueue(message, delay=delay)
        self.wakeups.publish(sent.queue_name)
        return sent

    def close(self) -> None:
        self.wakeups.close()
        super().close()


class WakeupConsumer(_RedisConsumer):
    """A consumer that polls Redis only after a wake-up: a poll costs it and Redis half a millisecond.

    Dramatiq's own consumer polls every few milliseconds after a message, and lets a message for an idle worker wait up to a
    second (docs/decisions/redis-wakeups.md).
    """

    def __init__(self, broker: Broker, queue_name: str, prefetch: int, timeout: int) -> None:
        # With a time-out of 0 the base class polls once and returns, so that the waiting happens here.
        super().__init__(broker, queue_name, prefetch, 0)  # type: ignore[no-untyped-call]

    def __next__(self) -> Any:
        wakeups: WakeupChannel = self.broker.wakeups
        sequence = wakeups.sequence(self.queue_name)
        message = super().__next__()  # type: ignore[no-untyped-call]
        if message is None and self.outstanding_message_count >= self.prefetch:
            # The base class did not poll, because the worker has not processed the messages it holds.
            time.sleep(UNSUBSCRIBED_POLL_SECONDS)
        elif message is None:
            wakeups.wait(self.queue_name, sequence)
        return message
