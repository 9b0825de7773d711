"""The table of mailing types and the template folders match, and a new row with a folder is sent."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core import clock
from core.database.bulk import insert_ignore
from notify.mailing_types import MAILING_TYPES, Audience, LinkTarget, MailingType, find_mailing_type
from notify.mailings import build_delivery_row
from notify.models import Delivery
from notify.render import Renderer
from tests.notify.harness import TEMPLATES, NotifyHarness, mail
from tests.servers.smtp import SmtpServer

PARTS = {"subject.txt", "body.txt", "body.html"}


def test_every_row_has_a_template_folder_and_every_folder_has_a_row() -> None:
    # billing_support has the message templates that staff edit; _base has what the mailings extend.
    folders = {path.name for path in TEMPLATES.iterdir()} - {"_base", "billing_support"}
    assert {row.template for row in MAILING_TYPES.values()} == folders
    for folder in folders:
        assert {path.name for path in (TEMPLATES / folder).iterdir()} == PARTS, folder


def test_every_row_stands_under_its_own_name() -> None:
    assert {name: row.name for name, row in MAILING_TYPES.items()} == {name: name for name in MAILING_TYPES}


def test_only_mail_to_customers_is_repeated_or_staff_written() -> None:
    for row in MAILING_TYPES.values():
        assert row.audience is Audience.CUSTOMER or not (row.may_repeat or row.is_staff_written), row.name


def test_mailing_without_row_is_neither_repeated_nor_exempt_from_limits() -> None:
    unknown = find_mailing_type("of_a_newer_version")
    assert (unknown.may_repeat, unknown.is_staff_written, unknown.audience) == (False, False, Audience.CUSTOMER)


@pytest.mark.parametrize(
    ("audience", "link", "address"),
    [(Audience.CUSTOMER, LinkTarget.CASE, "/care/cases/"), (Audience.STAFF, LinkTarget.TICKET, "/desk/tickets/BS-000001")],
)
def test_new_row_and_template_folder_are_rendered_built_and_sent(
    harness: NotifyHarness, smtp_server: SmtpServer, smtp_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    audience: Audience, link: LinkTarget, address: str,
) -> None:  # fmt: skip
    templates = tmp_path / "templates"
    shutil.copytree(TEMPLATES / "_base", templates / "_base")
    (templates / "reopened").mkdir()
    for part in PARTS:
        block = "subject" if part == "subject.txt" else "content"
        words = "Open since {{ opened_at|when }}: {{ link }}"
        text = f'{{% extends "_base/{part}" %}}{{% block {block} %}}{words}{{% endblock %}}'
        (templates / "reopened" / part).write_text(text)
    row = MailingType("ticket_reopened", "reopened", audience, link, datetime_keys=("opened_at",))
    monkeypatch.setitem(MAILING_TYPES, row.name, row)

    ticket_id, now = harness.add_ticket(answer=False), clock.now()
    delivery = build_delivery_row("ticket_reopened:1", row.name, ticket_id, "pat@clinic.example", now)
    delivery["context"] = {"opened_at": "2026-11-22T14:14:00+00:00"}
    with harness.database.write() as session:
        insert_ignore(session, Delivery, [delivery])
    harness.run_until_idle(harness.open_worker(smtp_url, renderer=Renderer(templates)))

    (message,) = smtp_server.messages
    sent = mail(message.content)
    assert str(sent["Subject"]).startswith("Open since Sunday, November 22, 2026 at 2:14 PM UTC")
    for part in ("plain", "html"):
        body = sent.get_body((part,))
        assert body is not None
        assert address in body.get_content()
    assert [(fact["mailing"], fact["outcome"]) for fact in harness.read_facts("notice.settled")][-1] == (row.name, "sent")
