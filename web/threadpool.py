"""Runs blocking calls of the event loop in daemon threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


async def run_in_thread(call: Callable[[], T], name: str) -> T:
    """Return the result of ``call``, run in a daemon thread of its own called ``name``. Raises what ``call`` raises.

    asyncio's pool is not used because its threads are joined when the process ends: a thread that waits for a database that
    never answers would keep the process from ending.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            result = call()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await asyncio.shield(asyncio.wrap_future(future))
