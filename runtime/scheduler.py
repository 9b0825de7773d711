"""The clock: asks for work at fixed intervals. Any number of processes may run it; a lease lets one act."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from core.database.session import Database
from core.leases import LeaseHolder

log = logging.getLogger("casemill.clock")

LEASE = "clock"
LEASE_SECONDS = 10.0
# While another process holds the lease, or the database is away.
RETRY_SECONDS = 1.0
# Most sweeps run every five seconds, so the lease needs no wake-up of its own.
RENEW_SECONDS = LEASE_SECONDS / 2


@dataclass(frozen=True, slots=True)
class Sweep:
    """``act`` every ``seconds``; it must be quick, or only ask somebody else to work."""

    interval_seconds: float
    run: Callable[[], object]


class Scheduler:
    """Runs sweeps while it holds the lease."""

    def __init__(
        self,
        database: Database,
        sweeps: Mapping[str, Sweep],
        stop: threading.Event,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._holder = LeaseHolder(database, LEASE, ttl_seconds=LEASE_SECONDS)
        self._sweeps = sweeps
        self._stop = stop
        self._monotonic = monotonic
        self._last: dict[str, float] = {}

    def run(self) -> None:
        """Until ``stop`` is set; a sweep or a database that fails is logged by its kind and tried again."""
        while not self._stop.is_set():
            if self._try("lease", self._holder.acquire):
                for name in self._due(self._monotonic()):
                    self._try(name, self._sweeps[name].run)
                self._stop.wait(self._seconds_until_due(self._monotonic()))
            else:
                self._stop.wait(RETRY_SECONDS)
        self._try("lease", self._holder.release)

    def _due(self, now: float) -> list[str]:
        due = [
            name for name, sweep in self._sweeps.items() if now - self._last.get(name, float("-inf")) >= sweep.interval_seconds
        ]
        self._last.update(dict.fromkeys(due, now))
        return due

    def _seconds_until_due(self, now: float) -> float:
        """Return how long to sleep until the next sweep is due, or the lease must be renewed."""
        due = [self._last[name] + sweep.interval_seconds - now for name, sweep in self._sweeps.items()]
        return min(max(min(due, default=RENEW_SECONDS), 0.0), RENEW_SECONDS)

    def _try(self, name: str, act: Callable[[], object]) -> object:
        try:
            return act()
        except Exception as error:
            log.warning("a sweep failed and is tried again", extra={"sweep": name, "error": type(error).__name__})
            return None
