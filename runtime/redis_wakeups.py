"""Word of a new message, over Redis' publish and subscribe: who waits for one need not look for it many times a second.

It may get lost, as whatever goes by that way, so everybody looks now and then all the same; and often while nothing can be heard.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from contextlib import closing, suppress

from redis import Redis
from redis.exceptions import RedisError

log = logging.getLogger("casemill.bells")

CHANNEL = "casemill:bells"
#: How long a look is put off while a new message would be heard of, and while it would not.
SUBSCRIBED_POLL_SECONDS, UNSUBSCRIBED_POLL_SECONDS = 1.0, 0.1
RECONNECT_SECONDS = 1.0
#: How long one who listens takes to find that it is to end.
LISTEN_TIMEOUT_SECONDS = 0.5


class WakeupChannel:
    """One for each queue. Whoever puts a message there rings it; all processes hear it that have asked :meth:`heard` before."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._changed = threading.Condition()
        self._sequences: Counter[str] = Counter()
        self._is_subscribed = False
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def publish(self, queue: str) -> None:
        """Tell who waits. Never raises: the message is there, and will be found."""
        with suppress(RedisError):
            self._client.publish(CHANNEL, queue)

    def sequence(self, queue: str) -> int:
        """How often the bell has been heard; to be asked before the look, and given to :meth:`wait` after it."""
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._listen, name="bells", daemon=True)
                self._thread.start()
            return self._sequences[queue]

    def wait(self, queue: str, sequence: int) -> None:
        """Wait until it rings once more than ``heard``, or until it is time to look again."""
        began = time.monotonic()
        with self._changed:
            while self._sequences[queue] == sequence:
                rest = began + (SUBSCRIBED_POLL_SECONDS if self._is_subscribed else UNSUBSCRIBED_POLL_SECONDS) - time.monotonic()
                if rest <= 0:
                    return
                self._changed.wait(rest)

    def close(self) -> None:
        """Listen no longer."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=4 * LISTEN_TIMEOUT_SECONDS)

    def _listen(self) -> None:
        while not self._stopped.is_set():
            try:
                self._listen_once()
            except Exception as error:  # whatever it was, somebody has to listen again
                if self._is_subscribed:  # said once, however long it lasts
                    log.warning("new messages are not heard of and are looked for", extra={"error": type(error).__name__})
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
        """What Redis says: that we are subscribed now, also after a connection was made again, or that a bell rang."""
        with self._changed:
            self._is_subscribed = True
            if kind == "message" and isinstance(data, bytes):
                self._sequences[data.decode(errors="replace")] += 1
            self._changed.notify_all()
