"""A Dramatiq broker and worker for one process, whose threads wait for messages without polling.

Dramatiq's own worker polls by time-outs: with four queues, their four queues for delayed messages and four threads, each five
times a second, a process without work woke up a hundred times a second (docs/decisions/idle-threads.md).
"""

from __future__ import annotations

from queue import Queue
from typing import Any, Final

import dramatiq
from dramatiq import Broker
from dramatiq.brokers.stub import StubBroker
from dramatiq.common import join_all

# A message ends the wait at once. The time-out only bounds what a lost wake message would cost at stop.
IDLE_MILLISECONDS: Final = 10_000
WAKE_ACTOR: Final = "worker.wake"


class EmbeddedBroker(StubBroker):
    """A broker inside the process, without the queues for delayed messages: no actor is ever delayed."""

    def declare_queue(self, queue_name: str) -> None:
        """Declare ``queue_name`` and tell the middleware, as :class:`StubBroker` does, but no delay queue."""
        if queue_name in self.queues:
            return
        self.emit_before("declare_queue", queue_name)
        self.queues[queue_name] = Queue()
        self.emit_after("declare_queue", queue_name)


class EmbeddedWorker(dramatiq.Worker):
    """Worker threads on an :class:`EmbeddedBroker`; they sleep until a message or :meth:`stop` wakes them."""

    def __init__(self, broker: Broker, *, threads: int) -> None:
        super().__init__(broker, worker_timeout=IDLE_MILLISECONDS, worker_threads=threads)
        if WAKE_ACTOR not in broker.actors:
            dramatiq.actor(broker=broker, actor_name=WAKE_ACTOR, queue_name=min(broker.queues))(_do_nothing)

    def stop(self, timeout: int = 600_000) -> None:
        """Stop all threads, and wait for them at most ``timeout`` milliseconds for each kind.

        1. Worker threads first: each ends after the next message it sees, so one message that does nothing is sent for each.
        2. Consumers then: each passes on one more message and ends, so one message is sent to each queue.
        3. Dramatiq's own stop requeues what is left and tells the middleware.
        """
        for worker in self.workers:
            worker.stop()
        self._send_wake_messages(min(self.consumers), len(self.workers))
        join_all(self.workers, timeout)  # type: ignore[no-untyped-call]
        for consumer in self.consumers.values():
            consumer.stop()
        for queue_name in self.consumers:
            self._send_wake_messages(queue_name, 1)
        super().stop(timeout)

    def _send_wake_messages(self, queue_name: str, count: int) -> None:
        message = self.broker.get_actor(WAKE_ACTOR).message()
        for _ in range(count):
            self.broker.enqueue(message.copy(queue_name=queue_name))


def _do_nothing(*_args: Any) -> None:
    """The message itself is the wake-up."""
