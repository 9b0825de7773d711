"""The scheduler: runs sweeps at fixed intervals. Any number of processes may run one; a lease lets one of them act."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from core.database.session import Database
from core.leases import LeaseHolder

log = logging.getLogger("casemill.scheduler")

LEASE = "clock"
LEASE_SECONDS = 10.0
# While another process holds the lease, or the database is away.
RETRY_SECONDS = 1.0
# Most sweeps run every five seconds, so the lease needs no wake-up of its own.
RENEW_SECONDS = LEASE_SECONDS / 2


@dataclass(frozen=True, slots=True)
class Sweep:
    """``run`` is called every ``interval_seconds``. It must be quick: slow work is requested from a worker."""

    interval_seconds: float
    run: Callable[[], object]


class Scheduler:
    """Runs due sweeps while it holds the lease."""

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
        self._last_run: dict[str, float] = {}

    def run(self) -> None:
        """Run until ``stop`` is set. A failing sweep or database is logged by its type, and the next interval tries again."""
        while not self._stop.is_set():
            if self._try("lease", self._holder.acquire):
                for name in self._due_sweeps(self._monotonic()):
                    self._try(name, self._sweeps[name].run)
                self._stop.wait(self._seconds_until_due(self._monotonic()))
            else:
                self._stop.wait(RETRY_SECONDS)
        self._try("lease", self._holder.release)

    def _due_sweeps(self, now: float) -> list[str]:
        due = [
            name
            for name, sweep in self._sweeps.items()
            if now - self._last_run.get(name, float("-inf")) >= sweep.interval_seconds
        ]
        self._last_run.update(dict.fromkeys(due, now))
        return due

    def _seconds_until_due(self, now: float) -> float:
        """Return how long to sleep until the next sweep is due, or the lease must be renewed."""
        due = [self._last_run[name] + sweep.interval_seconds - now for name, sweep in self._sweeps.items()]
        return min(max(min(due, default=RENEW_SECONDS), 0.0), RENEW_SECONDS)

    def _try(self, name: str, run: Callable[[], object]) -> object:
        try:
            return run()
        except Exception as error:
            log.warning("sweep failed, retried at the next interval", extra={"sweep": name, "error": type(error).__name__})
            return None
