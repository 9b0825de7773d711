"""The only clock: code that needs the time calls :func:`now` or takes a ``now`` argument."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

#: Clocks of machines that synchronise their time differ by less.
MAX_CLOCK_SKEW: Final = timedelta(seconds=10)


def now() -> datetime:
    """Return the present moment as an aware datetime in UTC."""
    return datetime.now(UTC)
