"""The sources of the configuration: its mailboxes, folders and forms, and how a user names one of them."""

from __future__ import annotations

from core.settings import Settings
from ingest.ledger.types import Source


def list_sources(settings: Settings) -> list[Source]:
    """Return all configured sources: mailboxes, then folders, then forms."""
    names = (("mailbox", settings.mailboxes), ("folder", settings.folders), ("form", settings.forms))
    return [Source(kind, name) for kind, section in names for name in section]


def match_sources(sources: list[Source], name: str) -> list[Source]:
    """Return the sources that ``name`` means: the name alone (``support``) or with its kind (``mailbox:support``)."""
    return [source for source in sources if name in (str(source), source.name)]
