"""The broker that carries hints: Redis, or one inside the process; and what a worker process owes the one that started it."""

from __future__ import annotations

import ctypes
import signal
import sys

from dramatiq import Broker, Middleware
from dramatiq.brokers.stub import StubBroker

from core.settings import Settings

PR_SET_PDEATHSIG = 1


def make_broker(settings: Settings, middleware: list[Middleware]) -> Broker:
    """Redis when it is configured, else a broker inside the process. No retries: the sweeps find what is due."""
    if not settings.redis_url:
        return StubBroker(middleware=middleware)
    from core.redis_broker import RingingBroker

    return RingingBroker(settings.redis_url, middleware)


def end_with_parent() -> None:
    """A worker whose parent is killed would work on for ever, unseen: the kernel asks it to end instead (prctl(2))."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
