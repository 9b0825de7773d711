"""Hints: "there may be work of this name". A convenience that may be lost; sweeps by the clock find the work anyway."""

from __future__ import annotations

import logging
from collections.abc import Callable

log = logging.getLogger("casemill.hints")

_deliver: Callable[[str], None] | None = None


def hint(name: str) -> None:
    """Say that work called ``name`` may be waiting. Never raises: the database is the truth, not the hint."""
    if _deliver is None:
        return
    try:
        _deliver(name)
    except Exception as error:
        log.warning("hint not delivered", extra={"hint": name, "error": type(error).__name__})


def connect(deliver: Callable[[str], None] | None) -> None:
    """Set where hints go (the composition root does), or None to switch them off. ``deliver`` must not wait for anybody."""
    global _deliver
    _deliver = deliver
