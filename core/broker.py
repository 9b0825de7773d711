"""The broker that carries hints: Redis, or one inside the process; and what a worker process owes the one that started it."""

from __future__ import annotations

import ctypes
import signal
import sys
from typing import Any

from dramatiq import Broker, Middleware
from dramatiq.brokers.stub import StubBroker

from core.settings import Settings

#: How long a message in Redis waits at most for a worker that has nothing to do. Each look costs both of them half a
#: millisecond, and each queue of each process has somebody who looks.
LOOK_MILLISECONDS = 100
PR_SET_PDEATHSIG = 1


def make_broker(settings: Settings, middleware: list[Middleware]) -> Broker:
    """Redis when it is configured, else a broker inside the process. No retries: the sweeps find what is due."""
    if not settings.redis_url:
        return StubBroker(middleware=middleware)
    from dramatiq import Consumer
    from dramatiq.brokers.redis import RedisBroker
    from dramatiq.common import dq_name
    from redis import Redis
    from redis.backoff import ExponentialBackoff
    from redis.exceptions import ConnectionError as RedisConnectionError
    from redis.exceptions import TimeoutError as RedisTimeoutError
    from redis.retry import Retry

    client = Redis.from_url(
        settings.redis_url,
        retry=Retry(ExponentialBackoff(cap=1, base=0.05), 5),
        retry_on_error=[RedisConnectionError, RedisTimeoutError],
        socket_connect_timeout=3,
        socket_timeout=10,
        health_check_interval=15,
    )
    options: dict[str, Any] = {"client": client, "middleware": middleware, "namespace": "casemill", "heartbeat_timeout": 15_000}

    class Broker(RedisBroker):
        """Looks for messages often, where any can be: of itself a worker that found none for a while looks once a second only.

        Each queue has another one for delayed messages, and nothing here is sent with a delay.
        """

        def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
            is_delayed = queue_name == dq_name(queue_name)
            return super().consume(queue_name, prefetch, timeout if is_delayed else min(timeout, LOOK_MILLISECONDS))

    return Broker(**options)  # type: ignore[no-untyped-call]


def end_with_parent() -> None:
    """A worker whose parent is killed would work on for ever, unseen: the kernel asks it to end instead (prctl(2))."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
