"""A judgement: whether one thing that must always be true of the running house is true, and what to do when it is not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Finding:
    """``code`` is a snake_case noun that never changes, ``count`` how many rows are against it (0: it holds).

    ``text`` and ``mend`` are sentences without any text of a message; ``oldest`` is since when the oldest row is against it.
    ``level`` is how bad it is: an alarm that has been given is given again when it rises.
    """

    code: str
    count: int
    text: str
    hint: str = ""
    oldest: datetime | None = None
    level: int = 1

    @property
    def is_violated(self) -> bool:
        return self.count > 0
