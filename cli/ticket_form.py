"""A ticket entered on the terminal: ask for missing fields, and read attached files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from tickets.manual_entry import ManualEntry
    from tickets.submission import SubmittedFile


def prompt_for_missing(entered: ManualEntry) -> ManualEntry:
    """Ask on the terminal for the main fields that are empty, and return the entry with the answers."""
    questions = {
        "owner": "Your email address",
        "company": "Company",
        "name": "Name of the caller",
        "email": "Their email address",
        "phone": "Their telephone number",
        "description": "Description",
    }
    answers = {
        field: typer.prompt(question, default="", show_default=False)
        for field, question in questions.items()
        if not getattr(entered, field)
    }
    return replace(entered, **answers)


def read_attachment(path: Path) -> SubmittedFile:
    """Read a file of this machine as an attachment; raises OSError."""
    import filetype

    from core import blobs
    from ingest.parsers.mail.attachments import clean_name
    from tickets.submission import SubmittedFile

    content = path.read_bytes()
    kind = filetype.guess(content[:8192])
    sniffed = str(kind.mime) if kind is not None else None
    declared = sniffed or "application/octet-stream"
    return SubmittedFile(clean_name(path.name) or "file", declared, sniffed, len(content), blobs.digest(content), False, content)
