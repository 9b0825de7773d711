"""A reason: why something was decided, for programs and for people."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """``code`` is a snake_case noun that never changes; ``text`` one sentence a support rep understands."""

    code: str
    text: str

    def as_dict(self) -> dict[str, str]:
        return {"code": self.code, "text": self.text}
