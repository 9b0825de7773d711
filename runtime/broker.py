"""The broker that carries drain requests, and the worker threads on it: Redis, or one inside the process."""

from __future__ import annotations

from typing import Final

from dramatiq import Broker, Middleware, Worker

from core.settings import Settings
from runtime.embedded_broker import EmbeddedBroker, EmbeddedWorker

# With Redis a worker thread looks this often whether it is to stop.
STOP_CHECK_MILLISECONDS: Final = 1_000


def make_broker(settings: Settings, middleware: list[Middleware]) -> Broker:
    """Return the Redis broker when Redis is configured, else a broker inside the process.

    Messages are never retried: the sweeps find what is due.
    """
    if not settings.redis_url:
        return EmbeddedBroker(middleware=middleware)
    from runtime.redis_broker import WakeupRedisBroker

    return WakeupRedisBroker(settings.redis_url, middleware)


def make_worker(broker: Broker, threads: int) -> Worker:
    """Return worker threads for this process, not yet started; `dramatiq workers` makes its own."""
    if isinstance(broker, EmbeddedBroker):
        return EmbeddedWorker(broker, threads=threads)
    return Worker(broker, worker_timeout=STOP_CHECK_MILLISECONDS, worker_threads=threads)
