"""The broker that carries hints: Redis, or one inside the process."""

from __future__ import annotations

from dramatiq import Broker, Middleware
from dramatiq.brokers.stub import StubBroker

from core.settings import Settings


def make_broker(settings: Settings, middleware: list[Middleware]) -> Broker:
    """Redis when it is configured, else a broker inside the process. No retries: the sweeps find what is due."""
    if not settings.redis_url:
        return StubBroker(middleware=middleware)
    from runtime.redis_broker import WakeupRedisBroker

    return WakeupRedisBroker(settings.redis_url, middleware)
