"""The broker and worker of the embedded mode."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import dramatiq
import pytest

from runtime import embedded_broker
from runtime.embedded_broker import EmbeddedBroker, EmbeddedWorker
from tests.waiting import scale_budget, wait_until


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedBroker]:
    """A broker with two queues; its workers would wait for ten minutes, so only a message can end a wait."""
    monkeypatch.setattr(embedded_broker, "IDLE_MILLISECONDS", 600_000)
    broker = EmbeddedBroker(middleware=[])
    for queue in ("ingest", "notify"):
        broker.declare_queue(queue)
    yield broker
    broker.close()


def test_no_queue_for_delayed_messages_exists(broker: EmbeddedBroker) -> None:
    assert set(broker.queues) == {"ingest", "notify"}
    worker = EmbeddedWorker(broker, threads=2)
    worker.start()
    assert set(worker.consumers) == {"ingest", "notify"}
    worker.stop(10_000)


def test_message_runs_at_once_although_threads_wait_for_seconds(broker: EmbeddedBroker) -> None:
    ran = threading.Event()
    actor = dramatiq.actor(lambda: ran.set(), broker=broker, actor_name="work", queue_name="notify")
    worker = EmbeddedWorker(broker, threads=2)
    worker.start()
    wait_until(lambda: all(consumer.consumer is not None for consumer in worker.consumers.values()))
    actor.send()
    assert ran.wait(scale_budget(30))
    worker.stop(10_000)


@pytest.mark.parametrize("threads", [1, 4, 9])
def test_stop_wakes_every_idle_thread(broker: EmbeddedBroker, threads: int) -> None:
    worker = EmbeddedWorker(broker, threads=threads)
    worker.start()
    wait_until(lambda: all(consumer.consumer is not None for consumer in worker.consumers.values()))
    worker.stop(int(scale_budget(60) * 1000))
    assert not any(thread.is_alive() for thread in (*worker.workers, *worker.consumers.values()))


def test_stop_waits_for_the_running_message(broker: EmbeddedBroker) -> None:
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait(scale_budget(30))
        done.set()

    actor = dramatiq.actor(work, broker=broker, actor_name="work", queue_name="ingest")
    worker = EmbeddedWorker(broker, threads=1)
    worker.start()
    actor.send()
    assert begun.wait(scale_budget(30))
    threading.Timer(0.3, go_on.set).start()
    worker.stop(30_000)
    assert done.is_set()


def test_second_worker_on_the_same_broker_works(broker: EmbeddedBroker) -> None:
    ran: list[int] = []
    actor = dramatiq.actor(ran.append, broker=broker, actor_name="work", queue_name="ingest")
    for number in range(2):
        worker = EmbeddedWorker(broker, threads=1)
        worker.start()
        actor.send(number)
        wait_until(lambda number=number: number in ran)
        worker.stop(10_000)
    assert ran == [0, 1]
