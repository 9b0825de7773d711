"""Explaining files and items by the current rules; nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.signing import Signer
from ingest.inspection.explain import Explainer, Explanation
from ingest.parser_pool import ParserPool
from ingest.parsers.types import ParsedMail
from ingest.sources.upload import find_files
from tests.ingest.support import (
    KEY,
    IngestHarness,
    arrival,
    make_form,
    make_mail,
    make_row,
    make_workbook,
    settings_for,
    workbook_arrival,
)


@pytest.fixture
def explain(tmp_path: Path, parser_pool: ParserPool) -> Callable[..., list[Explanation]]:
    """Return a function that explains one file with this name and content, under further settings."""

    def run(name: str, content: bytes, source: str = "upload", extra: dict[str, Any] | None = None, **further: Any) -> Any:
        path = tmp_path / "files" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        settings = settings_for("sqlite:///nowhere/at-all.db", tmp_path / "var", **further)
        return list(Explainer(settings, parser_pool, source, extra).explain_files(find_files([path]).files))

    return run


def test_mail_is_explained_with_its_content_and_outcome(explain: Callable[..., list[Explanation]]) -> None:
    headers = [
        "MIME-Version: 1.0", "Content-Type: multipart/alternative; boundary=cut", "Cc: Lee <lee@oak.example>",
        "In-Reply-To: <a@oak.example>", "References: <z@oak.example> <a@oak.example>",
    ]  # fmt: skip
    body = "--cut\r\nContent-Type: text/plain\r\n\r\nPlain words\r\n"
    body += "--cut\r\nContent-Type: text/html\r\n\r\n<p>Html <b>words</b></p>\r\n--cut--"
    (one,) = explain("a.eml", make_mail(1, body=body, headers=headers))
    shown = one.as_dict()
    wanted = {
        "from": "dana1@riverside.example", "from_name": "Dana Ortiz", "to": ["support@casemill.example"],
        "cc": ["lee@oak.example"], "subject": "Claim 1", "date": "2026-11-20T09:15:00+00:00", "body": "Plain words",
        "html_text": "Html words", "message_id": "<1@riverside.example>", "automatic": [], "is_auto": False,
        "must_not_autoreply": False, "requester": "dana1@riverside.example", "disposition": "ticket", "attachments": [],
        "reply": "Plain words", "quoted": None, "signature": None, "bounce": None, "is_forward": False, "forward": None,
    }  # fmt: skip
    assert {name: shown[name] for name in wanted} == wanted
    assert [reference.strip("<>") for reference in shown["references"]] == ["z@oak.example", "a@oak.example"]


def test_reply_quote_and_signature_are_separated(explain: Callable[..., list[Explanation]]) -> None:
    body = "Yes.\r\n\r\n-- \r\nDana\r\n\r\nOn Mon, Nov 2, 2026 at 9:12 AM Support <s@acme.example> wrote:\r\n\r\n> Paid?"
    shown = explain("a.eml", make_mail(1, body=body))[0].as_dict()
    assert (shown["reply"], shown["signature"]) == ("Yes.", "-- \nDana")
    assert shown["quoted"].startswith("On Mon") and shown["quoted"].endswith("> Paid?")
    assert shown["body"].split() == " ".join([shown["reply"], shown["signature"], shown["quoted"]]).split()


@pytest.mark.parametrize(
    ("header", "disposition", "signals"),
    [
        ("Auto-Submitted: auto-generated", "ticket", ["auto_submitted"]),
        ("List-Id: <news.oak.example>", "list", ["list_id"]),
        ("X-Failed-Recipients: lee@oak.example", "bounce", ["failed_recipients"]),
    ],
)
def test_automatic_mail_is_explained_with_its_signals(
    explain: Callable[..., list[Explanation]], header: str, disposition: str, signals: list[str]
) -> None:
    shown = explain("a.eml", make_mail(1, headers=[header]))[0].as_dict()
    assert (shown["disposition"], shown["automatic"]) == (disposition, signals)
    assert shown["requester"] == ("dana1@riverside.example" if disposition == "ticket" else None)


def test_rules_of_the_given_source_apply(explain: Callable[..., list[Explanation]]) -> None:
    mail = make_mail(1, headers=["Auto-Submitted: auto-generated"])
    extra = {"mailbox": "billing"}
    assert explain("a.eml", mail, "mailbox:billing", extra)[0].disposition == "automatic"


def test_own_signature_is_recognised_by_the_configured_key(explain: Callable[..., list[Explanation]]) -> None:
    own = Signer([KEY.encode()], "casemill.example").message_id("t1.d1")
    mail = make_mail(1).replace(b"<1@riverside.example>", own.encode())
    assert explain("a.eml", mail)[0].disposition == "own"
    assert explain("a.eml", mail, secret_key="")[0].disposition == "ticket"


def test_explaining_creates_no_key(explain: Callable[..., list[Explanation]], tmp_path: Path) -> None:
    assert explain("a.eml", make_mail(1), secret_key="")[0].disposition == "ticket"
    assert not (tmp_path / "var").exists()


def test_a_form_is_read_with_the_labels_of_its_configuration(explain: Callable[..., list[Explanation]]) -> None:
    forms = {"5512345": {"unsigned": True, "labels": {"172": "requester_email"}}}
    (one,) = explain("f.json", make_form(1, **{"172": "dana@riverside.example"}), forms=forms)
    assert one.as_dict() == {
        "path": one.path,
        "form_id": "5512345",
        "submission_id": "1512345601",
        "fields": {"172": "dana@riverside.example"},
        "requester": "dana@riverside.example",
        "disposition": "ticket",
        "reason": one.reason.text,
    }


def test_workbook_is_explained_row_by_row_and_a_refused_one_in_one_line(explain: Callable[..., list[Explanation]]) -> None:
    bad = make_row(2, Sender="", Practice="", **{"E-mail": ""})
    rows = [one.as_dict() for one in explain("w.xlsx", make_workbook(make_row(1), bad))]
    assert [(row["sheet"], row["row"], row["disposition"]) for row in rows] == [
        ("Messages", 2, "ticket"), ("Messages", 3, "rejected"),
    ]  # fmt: skip
    assert rows[0]["fields"]["subject"] == "Statement 1"
    (refused,) = explain("w.xlsx", b"PK\x03\x04" + b"x" * 500)
    assert (refused.disposition, refused.as_dict()["row"]) == ("rejected", None)


def test_mail_the_parser_cannot_read_is_explained_as_quarantined_and_the_next_one_normally(tmp_path: Path) -> None:
    settings = settings_for("sqlite:///nowhere/at-all.db", tmp_path, limits={"parser_memory_bytes": 80_000_000})
    (tmp_path / "1-huge.eml").write_bytes(make_mail(1, body="x" * 20_000_000))
    (tmp_path / "2-small.eml").write_bytes(make_mail(2))
    pool = ParserPool(settings.limits)
    try:
        shown = list(Explainer(settings, pool).explain_files(find_files([tmp_path]).files))
    finally:
        pool.close()
    assert [one.disposition for one in shown] == ["quarantined", "ticket"]
    assert shown[0].reason.code == "unreadable"


def test_messages_of_a_large_mbox_are_explained_in_order(explain: Callable[..., list[Explanation]]) -> None:
    mbox = b"".join(b"From a@b.example Sun Nov 22 04:00:00 2026\r\n" + make_mail(n) + b"\r\n" for n in range(150))
    shown = explain("two.mbox", mbox)
    assert [one.parsed.subject for one in shown if isinstance(one.parsed, ParsedMail)] == [f"Claim {n}" for n in range(150)]


def test_item_is_explained_by_the_current_rules(harness: IngestHarness, parser_pool: ParserPool, tmp_path: Path) -> None:
    (item,) = harness.take(arrival(make_mail(1)))
    changed = settings_for(harness.settings.database_url, tmp_path, notices={"own_addresses": ["dana1@riverside.example"]})
    with harness.database.read() as session:
        (now,) = Explainer(harness.settings, parser_pool).explain_item(session, item.id)
        (later,) = Explainer(changed, parser_pool).explain_item(session, item.id)
    assert (now.path, now.disposition, later.disposition) == (f"item:{item.id}", "ticket", "own")
    assert len(harness.items()) == 1


def test_stored_row_is_explained_with_its_place(harness: IngestHarness, parser_pool: ParserPool) -> None:
    harness.take(workbook_arrival(make_workbook(make_row(1))))
    (row,) = harness.items(kind="row")
    with harness.database.read() as session:
        (one,) = Explainer(harness.settings, parser_pool).explain_item(session, row.id)
    shown = one.as_dict()
    assert (shown["sheet"], shown["row"], shown["disposition"]) == ("Messages", 2, "ticket")
