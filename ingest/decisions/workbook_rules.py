"""Workbook rules: what the configuration says of workbooks from one source. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.settings import Settings
from core.settings.sections import Workbooks
from ingest.ledger.types import Source
from ingest.parsers.types import ParseOptions


def workbook_options(settings: Settings, source: str, extra: Mapping[str, Any]) -> ParseOptions:
    """Return the column aliases and passwords for a workbook from ``source``; an upload may use those of every source.

    ``extra`` is that of its item; the key ``mailbox`` names the mailbox of the mail that carried it.
    """
    origin = Source.parse(source)
    if origin.kind == "folder" and origin.name in settings.folders:
        sections = [settings.folders[origin.name].workbooks]
    elif extra.get("mailbox") in settings.mailboxes:
        sections = [settings.mailboxes[extra["mailbox"]].workbooks]
    else:
        sections = [folder.workbooks for folder in settings.folders.values()]
        sections += [mailbox.workbooks for mailbox in settings.mailboxes.values()]
    return _merge_sections(sections)


def row_category(settings: Settings, source: str, extra: Mapping[str, Any]) -> str:
    """Return the default ticket category for the rows of a workbook from ``source``, "" when none is configured."""
    origin = Source.parse(source)
    if origin.kind == "folder" and origin.name in settings.folders:
        return settings.folders[origin.name].category
    mailbox = settings.mailboxes.get(str(extra.get("mailbox", "")))
    return mailbox.category if mailbox else ""


def _merge_sections(sections: Sequence[Workbooks]) -> ParseOptions:
    aliases: dict[str, tuple[str, ...]] = {}
    for section in sections:
        for column, names in section.columns.items():
            aliases[column] = (*aliases.get(column, ()), *names)
    passwords = dict.fromkeys(secret.get_secret_value() for section in sections for secret in section.passwords)
    return ParseOptions(column_aliases=aliases, passwords=tuple(passwords))
