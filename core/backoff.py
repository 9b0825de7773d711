"""Back-off: how long a failed attempt waits before the next one. Pure; callers keep their own numbers and do the waiting."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

#: Doublings that are computed at most: more than any maximum needs, and far below what overflows a timedelta.
MAX_DOUBLINGS: Final = 32


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential back-off: ``first`` after the first failure, doubled after each further one, up to ``maximum``.

    ``jitter`` is the share (0 to 1) of each pause that is chosen at random, so that clients that failed together do not
    retry together.
    """

    first: timedelta
    maximum: timedelta
    jitter: float = 0.0

    def after(self, attempts: int, *, chance: float = 1.0) -> timedelta:
        """Return the pause after ``attempts`` failures in a row; fewer than one counts as one.

        ``chance`` is a random number in 0..1 drawn by the caller: 1 gives the whole pause, 0 the pause without its jitter.
        """
        doublings = min(max(attempts, 1) - 1, MAX_DOUBLINGS)
        pause: timedelta = min(self.first * 2**doublings, self.maximum)
        return pause * (1 - self.jitter + self.jitter * chance) if self.jitter else pause


@dataclass(frozen=True, slots=True)
class LinearBackoff:
    """Linear back-off in seconds: a random step between ``shortest`` and ``longest`` for each failure so far."""

    shortest: float
    longest: float

    def after(self, attempts: int, *, chance: float) -> float:
        """Return the pause in seconds after ``attempts`` failures; ``chance`` is a random number in 0..1."""
        return (self.shortest + (self.longest - self.shortest) * chance) * attempts
