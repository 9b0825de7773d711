"""A cache of one value with a time to live, computed in a thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from web.threadpool import run_in_thread

T = TypeVar("T")


class TtlCache(Generic[T]):
    """The result of ``compute``, at most ``seconds`` old. For one event loop.

    One computation runs at a time and all callers wait for it: when it hangs (a database that accepts a connection and never
    answers), further requests cannot use up the threads.
    """

    def __init__(self, compute: Callable[[], T], *, seconds: float, timeout: float = 5.0) -> None:
        self._compute = compute
        self._ttl_seconds = seconds
        self._timeout_seconds = timeout
        self._task: asyncio.Task[T] | None = None
        self._finished_at = 0.0

    async def get(self) -> T:
        """Return the result. Raises what ``compute`` raised, and TimeoutError when it takes longer than the time-out."""
        task = self._task
        if task is None or (task.done() and self._is_expired(task)):
            task = self._task = asyncio.create_task(self._run())
        done, _ = await asyncio.wait({task}, timeout=self._timeout_seconds)
        if not done:
            raise TimeoutError
        return task.result()

    def _is_expired(self, task: asyncio.Task[T]) -> bool:
        # A failure is not cached: the next caller computes again.
        return task.cancelled() or task.exception() is not None or time.monotonic() - self._finished_at > self._ttl_seconds

    async def _run(self) -> T:
        try:
            return await run_in_thread(self._compute, "web-figures")
        finally:
            self._finished_at = time.monotonic()
