"""Wake-ups over Redis publish/subscribe: a consumer that waits for a message need not poll many times a second.

Redis may lose what it publishes, so consumers poll once a second all the same, and more often while there is no subscription
(docs/decisions/redis-wakeups.md).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from contextlib import closing, suppress

from redis import Redis
from redis.exceptions import RedisError

log = logging.getLogger("casemill.redis_wakeups")

CHANNEL = "casemill:bells"
#: Poll intervals of a consumer with and without a subscription.
SUBSCRIBED_POLL_SECONDS, UNSUBSCRIBED_POLL_SECONDS = 1.0, 0.1
RECONNECT_SECONDS = 1.0
#: The listening thread checks this often whether it should stop.
LISTEN_TIMEOUT_SECONDS = 0.5


class WakeupChannel:
    """Publishes and receives wake-ups by queue. A process receives those that follow its first call of :meth:`sequence`."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._changed = threading.Condition()
        self._sequences: Counter[str] = Counter()
        self._is_subscribed = False
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def publish(self, queue: str) -> None:
        """Wake the consumers of ``queue``. Never raises: the message is in Redis, and the next poll finds it."""
        with suppress(RedisError):
            self._client.publish(CHANNEL, queue)

    def sequence(self, queue: str) -> int:
        """Return how many wake-ups of ``queue`` were received. Call it before a poll, and pass the result to :meth:`wait`."""
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._listen, name="redis-wakeups", daemon=True)
                self._thread.start()
            return self._sequences[queue]

    def wait(self, queue: str, sequence: int) -> None:
        """Wait until a wake-up after ``sequence`` arrives or the next poll is due."""
        started = time.monotonic()
        with self._changed:
            while self._sequences[queue] == sequence:
                left = (
                    started + (SUBSCRIBED_POLL_SECONDS if self._is_subscribed else UNSUBSCRIBED_POLL_SECONDS) - time.monotonic()
                )
                if left <= 0:
                    return
                self._changed.wait(left)

    def close(self) -> None:
        """Stop the listening thread."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=4 * LISTEN_TIMEOUT_SECONDS)

    def _listen(self) -> None:
        while not self._stopped.is_set():
            try:
                self._listen_once()
            except Exception as error:
                # Every error ends in a new subscription. It is logged once, not at each attempt.
                if self._is_subscribed:
                    log.warning("redis subscription lost, polling", extra={"error": type(error).__name__})
                self._is_subscribed = False
                self._stopped.wait(RECONNECT_SECONDS)

    def _listen_once(self) -> None:
        with closing(self._client.pubsub()) as subscription:  # type: ignore[no-untyped-call]
            subscription.subscribe(CHANNEL)
            while not self._stopped.is_set():
                message = subscription.get_message(timeout=LISTEN_TIMEOUT_SECONDS)
                if message is not None:
                    self._handle_message(str(message["type"]), message["data"])

    def _handle_message(self, kind: str, data: object) -> None:
        """Handle a confirmed subscription, which also follows a reconnect, or a wake-up."""
        with self._changed:
            self._is_subscribed = True
            if kind == "message" and isinstance(data, bytes):
                self._sequences[data.decode(errors="replace")] += 1
            self._changed.notify_all()
