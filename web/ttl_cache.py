"""Figures that many may ask for and few computations serve: computed in a thread, one at a time, kept for seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from web.threadpool import run_in_thread

T = TypeVar("T")


class TtlCache(Generic[T]):
    """The result of ``compute``, at most ``seconds`` old. For one event loop.

    A computation that hangs (a database that accepts and never answers) is waited for by everybody and started by nobody
    again, so that asking more often cannot use up the threads.
    """

    def __init__(self, compute: Callable[[], T], *, seconds: float, timeout: float = 5.0) -> None:
        self._compute = compute
        self._seconds = seconds
        self._timeout = timeout
        self._task: asyncio.Task[T] | None = None
        self._ended_at = 0.0

    async def get(self) -> T:
        """The result; raises what ``compute`` raised, and TimeoutError when it takes longer than the time-out."""
        task = self._task
        if task is None or (task.done() and self._is_old(task)):
            task = self._task = asyncio.create_task(self._run())
        done, _ = await asyncio.wait({task}, timeout=self._timeout)
        if not done:
            raise TimeoutError
        return task.result()

    def _is_old(self, task: asyncio.Task[T]) -> bool:
        # A failure is not kept: the next one who asks tries again.
        return task.cancelled() or task.exception() is not None or time.monotonic() - self._ended_at > self._seconds

    async def _run(self) -> T:
        try:
            return await run_in_thread(self._compute, "web-figures")
        finally:
            self._ended_at = time.monotonic()
