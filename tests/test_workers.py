"""Workers: drain requests, actors, the broker and the sweeps."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from queue import Queue
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.redis import RedisBroker
from dramatiq.brokers.stub import StubBroker
from sqlalchemy import select

import workers
from bootstrap import PARSER_NICENESS, Services, build_services
from core import clock, logs, migrations
from core.errors import ConfigurationError
from core.settings import Settings
from ingest.ledger.accept import accept
from ingest.ledger.models import InboundItem
from ingest.ledger.types import Arrival
from ingest.parsers.worker import ParseTask
from runtime import drain_requests, redis_wakeups
from tests.arrivals import INGEST, accept_mails, mail, tickets
from tests.e2e.system import ROOT, System
from tests.ingest.processes import new_child_processes
from tests.servers.redis_server import RedisServer
from tests.waiting import poll_until, scale_budget


@pytest.fixture
def stub() -> Iterator[StubBroker]:
    """The broker of this process, without messages."""
    assert isinstance(workers.broker, StubBroker)
    workers.broker.flush_all()
    yield workers.broker
    workers.broker.flush_all()


@pytest.fixture
def services(database_url: str, tmp_path: Path) -> Iterator[Services]:
    settings = Settings.model_validate({"database_url": database_url, "data_dir": tmp_path, "limits": {"parser_processes": 1}})
    services = build_services(settings)
    migrations.upgrade(services.database)
    yield services
    services.close()


@pytest.fixture
def shared_services(services: Services) -> Iterator[Services]:
    """The actors of this process use ``services``."""
    workers.services_middleware.use(services)
    workers.connect_drain_requests()
    yield services
    drain_requests.connect(None)
    workers.services_middleware._services, workers.services_middleware._is_shared = None, False


def count_queued(broker: StubBroker, name: str = "ingest") -> int:
    return broker.queues[name].qsize()


@pytest.mark.parametrize(("redis_url", "niceness"), [("", PARSER_NICENESS), ("redis://127.0.0.1:1/0", 0)])
def test_parser_processes_have_lower_priority_in_embedded_mode_only(tmp_path: Path, redis_url: str, niceness: int) -> None:
    values = {"data_dir": tmp_path, "redis_url": redis_url, "limits": {"parser_processes": 1}}
    with new_child_processes() as pids:
        services = build_services(Settings.model_validate(values))
    with closing(services):
        # A process that has parsed something has set its priority.
        services.pool.parse([ParseTask("mail", mail(1))])
        assert os.getpriority(os.PRIO_PROCESS, pids[0]) == min(os.getpriority(os.PRIO_PROCESS, 0) + niceness, 19)


# Drain requests


def test_equal_requests_become_one_message_until_the_drain_starts(stub: StubBroker) -> None:
    queue = workers.DrainRequestQueue(lambda name: workers.ACTORS[name].send(), resend_seconds=60)
    for _ in range(1000):
        queue.put(INGEST)
    assert poll_until(lambda: count_queued(stub))
    for _ in range(1000):
        queue.put(INGEST)
    time.sleep(0.2)
    assert count_queued(stub) == 1
    queue.mark_started(INGEST)
    assert poll_until(lambda: count_queued(stub) == 2), "a request after the message was sent is sent again once the drain starts"
    time.sleep(0.2)
    assert count_queued(stub) == 2


def test_request_whose_drain_does_not_start_is_sent_again(stub: StubBroker) -> None:
    queue = workers.DrainRequestQueue(lambda name: workers.ACTORS[name].send(), resend_seconds=0.2)
    queue.put(INGEST)
    assert poll_until(lambda: count_queued(stub) == 1)
    queue.put(INGEST)
    assert poll_until(lambda: count_queued(stub) == 2)


def test_requests_for_different_drains_do_not_wait_for_each_other(stub: StubBroker) -> None:
    queue = workers.DrainRequestQueue(lambda name: workers.ACTORS[name].send(), resend_seconds=60)
    for name in ("notify.drain", INGEST, "outbox.drain", INGEST):
        queue.put(name)
    assert poll_until(lambda: [count_queued(stub, name) for name in ("ingest", "outbox", "notify")] == [1, 1, 1])


def test_request_for_unknown_drain_is_logged_and_the_next_one_is_sent(stub: StubBroker, caplog: pytest.LogCaptureFixture) -> None:
    queue = workers.DrainRequestQueue(lambda name: workers.ACTORS[name].send(), resend_seconds=1)
    with caplog.at_level(logging.WARNING):
        queue.put("no.such")
        queue.put(INGEST)
        assert poll_until(lambda: count_queued(stub) == 1)
        assert poll_until(lambda: any(vars(record).get("drain") == "no.such" for record in caplog.records))


LOST_BROKER = """
import sys, time
import workers
from runtime import drain_requests
workers.connect_drain_requests()
print("ready", flush=True)
for line in sys.stdin:
    before = time.perf_counter()
    for _ in range(200):
        drain_requests.request_drain("ingest.drain")
    print(time.perf_counter() - before, flush=True)
"""


def test_request_neither_blocks_nor_raises_while_broker_hangs_or_is_down(redis_server: RedisServer, tmp_path: Path) -> None:
    system = System(tmp_path, redis_url=redis_server.url)
    requester = subprocess.Popen(
        [sys.executable, "-c", LOST_BROKER], cwd=ROOT, env=system.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert requester.stdin is not None and requester.stdout is not None
    assert requester.stdout.readline() == "ready\n"

    def request() -> float:
        assert requester.stdin is not None and requester.stdout is not None
        requester.stdin.write("request\n")
        requester.stdin.flush()
        return float(requester.stdout.readline())

    times = [request()]
    redis_server.suspend()
    times += [request(), request()]
    redis_server.resume()
    redis_server.kill()
    times += [request(), request()]
    redis_server.start()
    broker = workers.make_broker(Settings(redis_url=redis_server.url), [workers.ServicesMiddleware(Settings())])
    assert isinstance(broker, RedisBroker)
    assert poll_until(lambda: [request(), broker.client.llen("casemill:ingest")][1], 30), (
        "requests arrive again once the broker is back"
    )
    broker.client.close()
    _, errors = requester.communicate(timeout=scale_budget(30))
    system.close()
    assert max(times) < 0.2
    assert requester.returncode == 0 and "Traceback" not in errors


# Actors


def test_drain_takes_mail_to_creation_notice_and_stage_4(services: Services) -> None:
    accept_mails(services.database, 1, 2, 3)
    assert services.drain() > 0
    rows = tickets(services.database)
    assert [row["stage"] for row in rows] == ["4-In Progress"] * 3
    assert len(list((services.settings.data_dir / "sent" / "new").iterdir())) == 3
    assert services.drain() == 0


HOSTILE_MAIL = (
    b"From: =?utf-8?q?Da=00na?= <dana@lakeside.example>\r\nTo: support@casemill.example\r\nMessage-ID: <nul@lakeside.example>\r\n"
    b"Subject: =?utf-8?q?Claim=00_=ED=A0=80?= =?utf-16-be?b?2AA=?=\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n'
    b"Content-Transfer-Encoding: base64\r\n\r\naGVsbG8AIO2ggCB3b3JsZAo=\r\n--b\r\n"
    b"Content-Type: application/pdf; name*=utf-8''era%00%ED%A0%80.pdf\r\nContent-Disposition: attachment\r\n\r\n%PDF\r\n--b--\r\n"
)
HOSTILE_FORM = (
    b'{"FormID":"5512345","UniqueID":"1","name":"Da\\u0000na \\ud800","email":"d@lakeside.example","details":"a\\udfffb\\u0000",'
    b'"practice_name":"Lake\\u0000side","phone":"' + b"5" * 50_000 + b'"}'
)


def test_texts_that_databases_refuse_become_tickets(services: Services) -> None:
    now = clock.now()
    form = {"content_type": "application/json"}
    arrivals = [
        Arrival("mail", "mail", "upload", "hostile", HOSTILE_MAIL, now),
        Arrival("mail", "mail", "upload", "harmless", mail(1), now),
        Arrival("formstack", "form", "form:5512345", "1", HOSTILE_FORM, now, identity="5512345/1", extra=form),
    ]
    services.database.transaction(lambda session: accept(session, arrivals, now))
    services.drain()
    with services.database.read() as session:
        items = session.execute(select(InboundItem.disposition, InboundItem.attempts, InboundItem.reason)).all()
    assert [(item.disposition, item.attempts) for item in items] == [("ticket", 0)] * 3, items
    assert {row["stage"] for row in tickets(services.database)} == {"4-In Progress"}


def test_stopping_services_end_their_drain(services: Services) -> None:
    accept_mails(services.database, *range(5))
    services.stopping.set()
    services.drain()
    with services.database.read() as session:
        states = set(session.execute(select(InboundItem.state)).scalars())
    assert "claimed" not in states


def test_worker_threads_follow_a_drain_request(shared_services: Services, stub: StubBroker) -> None:
    worker = dramatiq.Worker(stub, worker_timeout=50, worker_threads=3)
    worker.start()
    try:
        accept_mails(shared_services.database, *range(120))
        drain_requests.request_drain(INGEST)
        assert poll_until(
            lambda: len([row for row in tickets(shared_services.database) if row["stage"] == "4-In Progress"]) == 50, 30
        )
    finally:
        shared_services.stopping.set()
        worker.stop(timeout=10_000)


class CanaryError(Exception):
    """An exception whose text quotes a message."""


def test_failed_drain_is_logged_without_text_of_the_exception(shared_services: Services, stub: StubBroker) -> None:
    stream = io.StringIO()
    before = logging.getLogger().handlers[:], threading.excepthook, sys.excepthook

    def fail() -> int:
        raise CanaryError("canary text of a message") from ValueError("canary cause")

    try:
        logs.configure(style="json", stream=stream)
        workers._drain_until_empty(INGEST, fail)
    finally:
        logging.getLogger().handlers[:], threading.excepthook, sys.excepthook = before
        logging.captureWarnings(False)
    (line,) = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert (line["level"], line["drain"]) == ("error", INGEST)
    assert "CanaryError" in stream.getvalue() and "canary" not in stream.getvalue()


def test_actor_with_unusable_database_raises_nothing(shared_services: Services, stub: StubBroker) -> None:
    from sqlalchemy import text

    with shared_services.database.write() as session:
        session.execute(text("ALTER TABLE inbound_item RENAME TO elsewhere"))
    for actor in workers.ACTORS.values():
        actor()


def test_actors_take_no_arguments_that_could_carry_text() -> None:
    assert {"ingest.drain", "notify.drain", "outbox.drain"} <= set(workers.ACTORS)
    assert all(actor.fn.__code__.co_argcount == 0 for actor in workers.ACTORS.values())


def test_services_are_missing_before_worker_boots() -> None:
    with pytest.raises(ConfigurationError):
        _ = workers.ServicesMiddleware(Settings()).services


# The broker


def test_broker_is_inside_the_process_without_redis() -> None:
    assert isinstance(workers.make_broker(Settings(), [workers.ServicesMiddleware(Settings())]), StubBroker)


def test_redis_client_retries_and_has_timeouts(redis_url: str) -> None:
    settings = Settings(redis_url=redis_url)
    broker = workers.make_broker(settings, [workers.ServicesMiddleware(settings)])
    assert isinstance(broker, RedisBroker)
    options = broker.client.connection_pool.connection_kwargs
    assert options["socket_timeout"] and options["socket_connect_timeout"]
    assert options["retry"]._retries >= 3
    assert broker.client.ping()
    broker.client.close()


def test_message_wakes_waiting_consumer_at_once(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(redis_url=redis_url)
    sender, receiver = (workers.make_broker(settings, [workers.ServicesMiddleware(settings)]) for _ in range(2))
    assert isinstance(sender, RedisBroker)
    consumer = receiver.consume("ingest", prefetch=8, timeout=1000)
    assert next(consumer) is None
    assert poll_until(lambda: sender.client.pubsub_numsub(redis_wakeups.CHANNEL)[0][1] == 1)
    # Only a wake-up ends the wait.
    monkeypatch.setattr(redis_wakeups, "SUBSCRIBED_POLL_SECONDS", 600.0)
    found: Queue[Any] = Queue()
    waiting = threading.Thread(target=lambda: found.put(next(message for message in consumer if message)), daemon=True)
    waiting.start()
    time.sleep(0.5)
    sender.declare_queue("ingest")
    sender.enqueue(dramatiq.Message(queue_name="ingest", actor_name="ingest.drain", args=(), kwargs={}, options={}))
    assert found.get(timeout=scale_budget(30)).actor_name == "ingest.drain"
    waiting.join()
    for broker in (sender, receiver):
        broker.close()


def test_consumer_polls_again_after_its_prefetched_message_is_done(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(redis_url=redis_url)
    broker = workers.make_broker(settings, [workers.ServicesMiddleware(settings)])
    assert isinstance(broker, RedisBroker)
    consumer = broker.consume("ingest", prefetch=1, timeout=1000)
    assert next(consumer) is None
    assert poll_until(lambda: broker.client.pubsub_numsub(redis_wakeups.CHANNEL)[0][1] == 1)
    # The wake-ups of both messages come before the wait, so only the poll finds the second one.
    monkeypatch.setattr(redis_wakeups, "SUBSCRIBED_POLL_SECONDS", 600.0)
    broker.declare_queue("ingest")
    for _ in range(2):
        broker.enqueue(dramatiq.Message(queue_name="ingest", actor_name="ingest.drain", args=(), kwargs={}, options={}))
    first = next(message for message in consumer if message)
    assert [next(consumer) for _ in range(3)] == [None] * 3
    consumer.ack(first)
    second = next(message for message in consumer if message)
    assert second.message_id != first.message_id
    consumer.ack(second)
    broker.close()


def test_idle_consumer_polls_about_once_a_second(redis_url: str) -> None:
    settings = Settings(redis_url=redis_url)
    broker = workers.make_broker(settings, [workers.ServicesMiddleware(settings)])
    assert isinstance(broker, RedisBroker)
    consumer = broker.consume("ingest", prefetch=8, timeout=1000)
    assert next(consumer) is None

    def count_polls() -> int:
        return int(broker.client.info("commandstats")["cmdstat_evalsha"]["calls"])

    assert poll_until(lambda: broker.client.pubsub_numsub(redis_wakeups.CHANNEL)[0][1] == 1)
    before, deadline = count_polls(), time.monotonic() + 2.0
    while time.monotonic() < deadline:
        assert next(consumer) is None
    assert 1 <= count_polls() - before <= 4
    broker.close()


def test_services_are_the_only_middleware_so_that_no_message_is_retried_or_time_limited() -> None:
    settings = Settings()
    broker = workers.make_broker(settings, [workers.ServicesMiddleware(settings)])
    assert [type(one) for one in broker.middleware] == [workers.ServicesMiddleware]


# Sweeps


def test_scheduler_requests_every_drain_within_seconds(services: Services) -> None:
    sweeps = workers.build_sweeps(services.database)
    assert set(sweeps) >= set(workers.ACTORS)
    assert all(sweeps[name].interval_seconds <= 5 for name in workers.ACTORS)


def test_sweeps_request_drains_and_delete_old_facts(services: Services, stub: StubBroker) -> None:
    for name in workers.ACTORS:
        workers._drain_requests.mark_started(name)
    for sweep in workers.build_sweeps(services.database).values():
        sweep.run()
    assert poll_until(lambda: [count_queued(stub, name) for name in ("ingest", "outbox", "notify")] == [1, 1, 1])
