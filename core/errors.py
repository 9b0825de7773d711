"""Errors that people and programs can act on. No error carries text of a message."""

from __future__ import annotations


class CasemillError(Exception):
    """Base of all expected errors: ``text`` says what is wrong, ``hint`` in one sentence what to do next."""

    def __init__(self, text: str, *, hint: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.hint = hint


class ConfigurationError(CasemillError):
    """The configuration cannot be used; names the file, the key and what to do."""

    def __init__(self, text: str, *, file: str = "", key: str = "", hint: str = "") -> None:
        super().__init__(text, hint=hint)
        self.file = file
        self.key = key

    def __str__(self) -> str:
        where = ": ".join(part for part in (self.file, self.key) if part)
        lines = [f"{where}: {self.text}" if where else self.text]
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


class NotFoundError(CasemillError):
    """A thing given by name or number does not exist."""


class RefusedError(CasemillError):
    """The rules do not allow the request; ``code`` is a snake_case reason."""

    def __init__(self, code: str, text: str, *, hint: str = "") -> None:
        super().__init__(text, hint=hint)
        self.code = code


class BusyError(CasemillError):
    """The writer lock or a connection was not free in time; the caller may retry later."""
