"""Blocking calls beside the event loop, in threads that do not hold up the end of the process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


async def run_in_thread(call: Callable[[], T], name: str) -> T:
    """The result of ``call``, run in a daemon thread of its own.

    The threads of asyncio's pool are joined at the end of the process: one that waits for a database which never answers
    would keep the process from ending.
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
