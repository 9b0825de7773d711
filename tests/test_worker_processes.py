"""`dramatiq workers` in real processes, with Redis and PostgreSQL."""

from __future__ import annotations

import json
import math
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import dramatiq
import pytest
from dramatiq.brokers.redis import RedisBroker

import workers
from core import migrations
from core.database.session import Database
from core.settings import Settings
from tests.arrivals import INGEST, accept_mails, tickets
from tests.e2e.system import COMMAND, ROOT, WORKERS, System
from tests.ingest.processes import find_child_processes
from tests.servers.redis_server import RedisServer
from tests.waiting import poll_until, scale_budget


@pytest.fixture
def scaled_out(postgres_url: str, redis_url: str, tmp_path: Path) -> Iterator[System]:
    system = System(tmp_path, database_url=postgres_url, redis_url=redis_url)
    yield system
    # Stopped and not killed: the workers of a killed command need a moment until they end.
    with suppress(subprocess.TimeoutExpired):
        system.stop()
    system.close()


def send(url: str, actor: str) -> None:
    """Send a drain request, as any process does."""
    settings = Settings(redis_url=url)
    broker = workers.make_broker(settings, [workers.ServicesMiddleware(settings)])
    queue = actor.partition(".")[0]
    broker.declare_queue(queue)
    broker.enqueue(dramatiq.Message(queue_name=queue, actor_name=actor, args=(), kwargs={}, options={}))
    assert isinstance(broker, RedisBroker)
    broker.client.close()


def test_worker_process_follows_drain_request_through_redis(scaled_out: System, redis_url: str) -> None:
    database = Database(scaled_out.database_url)
    migrations.upgrade(database)
    scaled_out.start(WORKERS, ready=False)
    assert poll_until(lambda: "worker ready" in scaled_out.log, 30)
    accept_mails(database, *range(20))
    assert tickets(database) == []
    send(redis_url, INGEST)
    assert poll_until(lambda: len([row for row in tickets(database) if row["stage"] == "4-In Progress"]) == 20, 30), (
        scaled_out.log
    )
    database.close()
    assert scaled_out.stop() == [0]


def test_scheduler_finds_work_whose_drain_request_was_lost(scaled_out: System, redis_server: RedisServer) -> None:
    database = Database(scaled_out.database_url)
    migrations.upgrade(database)
    accept_mails(database, *range(5))
    scaled_out.start(WORKERS, [*COMMAND, "tick"], ready=False)
    time.sleep(2)
    redis_server.flush()
    accept_mails(database, *range(5, 10))
    assert poll_until(lambda: len([row for row in tickets(database) if row["stage"] == "4-In Progress"]) == 10, 30), (
        scaled_out.log
    )
    database.close()


def test_worker_process_ends_when_its_parent_is_killed(scaled_out: System) -> None:
    scaled_out.start(WORKERS, ready=False)
    assert poll_until(lambda: "worker ready" in scaled_out.log, 30)
    parent = scaled_out.processes[0].pid
    children = [int(path.name) for path in Path("/proc").glob("[0-9]*") if _find_parent(int(path.name)) == parent]
    assert children
    scaled_out.kill()
    assert poll_until(lambda: not any(_find_parent(child) for child in children), 30), "a worker outlived its parent"


def test_worker_processes_divide_cores_among_their_parser_processes(scaled_out: System) -> None:
    command = [*WORKERS[: WORKERS.index("--processes")], "--processes", "2", "--threads", "1"]
    scaled_out.start(command, ready=False)
    assert poll_until(lambda: scaled_out.log.count("worker ready") == 2, 60), scaled_out.log
    families = [find_child_processes(worker) for worker in find_child_processes(scaled_out.processes[0].pid)]
    share = min(math.ceil((os.cpu_count() or 1) / 2), 4)
    assert [len(family) for family in families if family] == [share, share]
    assert {os.getpriority(os.PRIO_PROCESS, pid) for family in families for pid in family} == {os.getpriority(os.PRIO_PROCESS, 0)}


def _find_parent(pid: int) -> int | None:
    """Return the parent of a running process, None when the process has ended."""
    with suppress(OSError):
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
        return None if state == "Z" else int(parent)
    return None


def test_worker_process_without_redis_exits_with_hint(tmp_path: Path) -> None:
    system = System(tmp_path)
    ended = subprocess.run(
        WORKERS, cwd=ROOT, env=system.environment(), capture_output=True, text=True, timeout=scale_budget(60), check=False
    )
    system.close()
    assert ended.returncode != 0
    output = ended.stdout + ended.stderr
    assert "worker processes need Redis" in output
    assert "hint: set CASEMILL_REDIS_URL" in output


def test_worker_process_with_unusable_settings_exits_and_names_the_key(redis_url: str, tmp_path: Path) -> None:
    system = System(tmp_path, redis_url=redis_url, smtp_url="smtp://relay.example/?cafile=/nowhere.pem")
    ended = subprocess.run(
        WORKERS, cwd=ROOT, env=system.environment(), capture_output=True, text=True, timeout=scale_budget(60), check=False
    )
    system.close()
    assert ended.returncode != 0
    assert "smtp_url" in ended.stdout + ended.stderr


def test_worker_process_that_fails_logs_no_statement_and_no_text(scaled_out: System, redis_url: str) -> None:
    # The database has no tables, so the drain fails.
    scaled_out.start(WORKERS, ready=False)
    send(redis_url, INGEST)
    assert poll_until(lambda: "drain failed, retried" in scaled_out.log, 30), scaled_out.log
    time.sleep(0.2)
    line = next(json.loads(line) for line in scaled_out.log.splitlines() if "drain failed, retried" in line)
    assert line["drain"] == INGEST
    assert "SELECT" not in scaled_out.log and "inbound_item" not in scaled_out.log
