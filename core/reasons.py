"""Reasons: why something was decided, as a code for programs and a sentence for people."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """``code`` is a snake_case noun that never changes; ``text`` is one sentence that a support rep understands."""

    code: str
    text: str

    def as_dict(self) -> dict[str, str]:
        """Return code and text for JSON output."""
        return {"code": self.code, "text": self.text}
