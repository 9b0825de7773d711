"""The heaps of the C library: glibc gives threads arenas of their own, and what is free in one is of no use in another."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

M_ARENA_MAX = -8
MAX_ARENAS = 2


def limit_malloc_arenas() -> None:
    """Let all threads share two arenas (mallopt(3)); to be called before they start. Without glibc nothing happens.

    Threads of Python allocate in turn anyway; over 15,000 mails `casemill run` stays at 190 MB in place of 231.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, MAX_ARENAS)


#: A batch makes some ten thousand objects that die by themselves when it ends; the default looks at them all every 700.
GC_THRESHOLD = 20_000


def tune_garbage_collector() -> None:
    """Leave alone whatever is loaded by now, and look less often at what comes; to be called when a process is ready."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 10, 10)
