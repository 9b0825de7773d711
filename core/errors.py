"""Errors that people and programs can act on. None of them ever carries text of a message."""

from __future__ import annotations


class CasemillError(Exception):
    """Base of all expected errors; ``mend`` says in one sentence what to do about it."""

    def __init__(self, text: str, *, mend: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.mend = mend


class ConfigurationError(CasemillError):
    """The configuration cannot be used: names the file, the key and the mend."""

    def __init__(self, text: str, *, file: str = "", key: str = "", mend: str = "") -> None:
        super().__init__(text, mend=mend)
        self.file = file
        self.key = key

    def __str__(self) -> str:
        where = ": ".join(part for part in (self.file, self.key) if part)
        lines = [f"{where}: {self.text}" if where else self.text]
        if self.mend:
            lines.append(f"  mend: {self.mend}")
        return "\n".join(lines)


class NotFoundError(CasemillError):
    """What was asked for by name or number does not exist."""


class RefusedError(CasemillError):
    """A request that the rules do not allow; ``code`` is a snake_case reason."""

    def __init__(self, code: str, text: str, *, mend: str = "") -> None:
        super().__init__(text, mend=mend)
        self.code = code


class BusyError(CasemillError):
    """The database could not be entered in time; the caller may try again later."""
