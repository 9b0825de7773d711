"""Send the sample inputs as real ones arrive: files in watched folders, and signed requests to the webhook."""

from __future__ import annotations

import urllib.request
from datetime import datetime
from pathlib import Path

from sqlalchemy import select

from core.database.session import Database
from core.settings import Settings
from demo import inputs
from demo.configuration import FORM_ID
from demo.mails import build_mails
from ingest.ledger.models import InboundItem


def has_any_item(database: Database) -> bool:
    """Return whether any item has arrived: only the first start sends the sample inputs."""
    with database.read() as session:
        return session.execute(select(InboundItem.id).limit(1)).first() is not None


def send_sample_inputs(settings: Settings, address: str, now: datetime) -> None:
    """Write the sample mails and the workbook into the watched folders, and post the forms to the web server at ``address``."""
    for number, mail in enumerate(build_mails(now), 1):
        drop_file(settings.folders["mail"].path, f"mail-{number:02d}.eml", mail)
    drop_file(settings.folders["secure_messages"].path, "secure-messages.xlsx", inputs.build_workbook(now))
    for body, headers in inputs.build_form_posts():
        post_form(f"http://{address}/hooks/formstack/{FORM_ID}", body, headers)


def drop_file(folder: Path, name: str, content: bytes) -> None:
    """Put a complete file into a watched folder: write it under another name, then rename it."""
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f".{name}.part"
    unfinished.write_bytes(content)
    unfinished.rename(folder / name)


def post_form(url: str, body: bytes, headers: dict[str, str]) -> int:
    """POST ``body`` and return the HTTP status. Raises OSError (HTTPError is one) when it is not accepted."""
    request = urllib.request.Request(url, data=body, headers=headers, method="POST")  # noqa: S310 - our own http address
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
        return int(response.status)
