"""Python's cyclic garbage collector, for processes that run for weeks and work in batches."""

from __future__ import annotations

import gc

#: A batch makes some ten thousand objects that die by themselves when it ends; the default looks at them all every 700.
YOUNGEST = 20_000


def calm() -> None:
    """Leave alone whatever is loaded by now, and look less often at what comes; to be called when a process is ready."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNGEST, 10, 10)
