"""The only clock: everything that needs the time takes it from here or is given it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

#: Clocks of machines that keep the time differ by less.
MAX_CLOCK_SKEW: Final = timedelta(seconds=10)


def now() -> datetime:
    """The present moment, aware, in UTC."""
    return datetime.now(UTC)
