"""The scheduler sleeps until a sweep is due."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from core import migrations
from core.database.session import Database
from runtime import scheduler
from runtime.scheduler import RENEW_SECONDS, Scheduler, Sweep
from tests.waiting import scale_budget, wait_until


class Waits(threading.Event):
    """A stop event that records how long it was waited for, and is set after some waits."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self._most = most

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds.append(timeout or 0.0)
        if len(self.seconds) >= self._most:
            self.set()
        return super().wait(0)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    database = Database(f"sqlite:///{tmp_path / 'casemill.db'}")
    migrations.upgrade(database)
    return database


def run(database: Database, sweeps: Mapping[str, Sweep], waits: int, moments: list[float]) -> list[float]:
    """Run the scheduler for some rounds by a clock that shows ``moments``; return how long it slept in each."""
    stop = Waits(waits)
    shown = iter(moments)
    Scheduler(database, sweeps, stop, monotonic=lambda: next(shown)).run()
    return stop.seconds


def test_sleeps_until_the_next_sweep_is_due(database: Database) -> None:
    ran: list[str] = []
    sweeps = {"often": Sweep(2.0, lambda: ran.append("often")), "rarely": Sweep(60.0, lambda: ran.append("rarely"))}
    # Each round asks twice: which sweeps are due, and how long to sleep.
    seconds = run(database, sweeps, 2, moments=[100.0, 100.5, 102.0, 102.0])
    assert seconds == [1.5, 2.0]
    assert ran == ["often", "rarely", "often"]


def test_sleeps_no_longer_than_the_lease_needs(database: Database) -> None:
    sweeps = {"rarely": Sweep(3600.0, lambda: None)}
    assert run(database, sweeps, 2, moments=[100.0] * 4) == [RENEW_SECONDS, RENEW_SECONDS]


def test_sweep_that_is_late_runs_at_once(database: Database) -> None:
    assert run(database, {"slow": Sweep(1.0, lambda: None)}, 1, moments=[100.0, 105.0]) == [0.0]


def test_failed_sweep_stops_no_other(database: Database) -> None:
    ran = threading.Event()
    stop = threading.Event()
    sweeps = {"broken": Sweep(0.05, lambda: 1 / 0), "good": Sweep(0.05, ran.set)}
    thread = threading.Thread(target=Scheduler(database, sweeps, stop).run)
    thread.start()
    wait_until(ran.is_set)
    stop.set()
    thread.join()
    assert ran.is_set()


def test_stop_ends_the_sleep_at_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "RENEW_SECONDS", 600.0)
    stop = threading.Event()
    thread = threading.Thread(target=Scheduler(database, {"rarely": Sweep(3600.0, lambda: None)}, stop).run)
    thread.start()
    time.sleep(0.2)
    stop.set()
    thread.join(scale_budget(30))
    assert not thread.is_alive()
