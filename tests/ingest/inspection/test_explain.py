"""Explaining files and items: every key, the rules in force, and nothing written."""

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
    Room,
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
    """Explains one file of that name and content, with further settings."""

    def run(name: str, content: bytes, source: str = "upload", extra: dict[str, Any] | None = None, **further: Any) -> Any:
        path = tmp_path / "given" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        settings = settings_for("sqlite:///nowhere/at-all.db", tmp_path / "var", **further)
        return list(Explainer(settings, parser_pool, source, extra).explain_files(find_files([path]).files))

    return run


def test_a_mail_is_told_by_what_it_says_and_what_becomes_of_it(explain: Callable[..., list[Explanation]]) -> None:
    headers = [
        "MIME-Version: 1.0", "Content-Type: multipart/alternative; boundary=cut", "Cc: Lee <lee@oak.example>",
        "In-Reply-To: <a@oak.example>", "References: <z@oak.example> <a@oak.example>",
    ]  # fmt: skip
    body = "--cut\r\nContent-Type: text/plain\r\n\r\nPlain words\r\n"
    body += "--cut\r\nContent-Type: text/html\r\n\r\n<p>Html <b>words</b></p>\r\n--cut--"
    (one,) = explain("a.eml", make_mail(1, body=body, headers=headers))
    told = one.as_dict()
    wanted = {
        "from": "dana1@riverside.example", "from_name": "Dana Ortiz", "to": ["support@casemill.example"],
        "cc": ["lee@oak.example"], "subject": "Claim 1", "date": "2026-11-20T09:15:00+00:00", "body": "Plain words",
        "html_text": "Html words", "message_id": "<1@riverside.example>", "automatic": [], "is_auto": False,
        "must_not_autoreply": False, "requester": "dana1@riverside.example", "disposition": "ticket", "attachments": [],
        "reply": "Plain words", "quoted": None, "signature": None, "bounce": None, "is_forward": False, "forward": None,
    }  # fmt: skip
    assert {name: told[name] for name in wanted} == wanted
    assert [reference.strip("<>") for reference in told["references"]] == ["z@oak.example", "a@oak.example"]


def test_reply_quote_and_signature_are_told_apart(explain: Callable[..., list[Explanation]]) -> None:
    body = "Yes.\r\n\r\n-- \r\nDana\r\n\r\nOn Mon, Nov 2, 2026 at 9:12 AM Support <s@acme.example> wrote:\r\n\r\n> Paid?"
    told = explain("a.eml", make_mail(1, body=body))[0].as_dict()
    assert (told["reply"], told["signature"]) == ("Yes.", "-- \nDana")
    assert told["quoted"].startswith("On Mon") and told["quoted"].endswith("> Paid?")
    assert told["body"].split() == " ".join([told["reply"], told["signature"], told["quoted"]]).split()


@pytest.mark.parametrize(
    ("header", "disposition", "signs"),
    [
        ("Auto-Submitted: auto-generated", "ticket", ["auto_submitted"]),
        ("List-Id: <news.oak.example>", "list", ["list_id"]),
        ("X-Failed-Recipients: lee@oak.example", "bounce", ["failed_recipients"]),
    ],
)
def test_automatic_mail_is_told_by_its_signs(
    explain: Callable[..., list[Explanation]], header: str, disposition: str, signs: list[str]
) -> None:
    told = explain("a.eml", make_mail(1, headers=[header]))[0].as_dict()
    assert (told["disposition"], told["automatic"]) == (disposition, signs)
    assert told["requester"] == ("dana1@riverside.example" if disposition == "ticket" else None)


def test_the_rules_of_the_source_hold(explain: Callable[..., list[Explanation]]) -> None:
    mail = make_mail(1, headers=["Auto-Submitted: auto-generated"])
    extra = {"mailbox": "billing"}
    assert explain("a.eml", mail, "mailbox:billing", extra)[0].disposition == "automatic"


def test_our_own_signature_is_known_by_the_configured_key(explain: Callable[..., list[Explanation]]) -> None:
    own = Signer([KEY.encode()], "casemill.example").message_id("t1.d1")
    mail = make_mail(1).replace(b"<1@riverside.example>", own.encode())
    assert explain("a.eml", mail)[0].disposition == "own"
    assert explain("a.eml", mail, secret_key="")[0].disposition == "ticket"


def test_no_key_is_made(explain: Callable[..., list[Explanation]], tmp_path: Path) -> None:
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


def test_a_workbook_is_told_row_by_row_and_a_refused_one_in_one_line(explain: Callable[..., list[Explanation]]) -> None:
    bad = make_row(2, Sender="", Practice="", **{"E-mail": ""})
    rows = [one.as_dict() for one in explain("w.xlsx", make_workbook(make_row(1), bad))]
    assert [(row["sheet"], row["row"], row["disposition"]) for row in rows] == [
        ("Messages", 2, "ticket"), ("Messages", 3, "rejected"),
    ]  # fmt: skip
    assert rows[0]["fields"]["subject"] == "Statement 1"
    (refused,) = explain("w.xlsx", b"PK\x03\x04" + b"x" * 500)
    assert (refused.disposition, refused.as_dict()["row"]) == ("rejected", None)


def test_what_the_parser_cannot_manage_is_told_as_set_aside_and_the_rest_goes_on(tmp_path: Path) -> None:
    settings = settings_for("sqlite:///nowhere/at-all.db", tmp_path, limits={"parser_memory_bytes": 80_000_000})
    (tmp_path / "1-huge.eml").write_bytes(make_mail(1, body="x" * 20_000_000))
    (tmp_path / "2-small.eml").write_bytes(make_mail(2))
    pool = ParserPool(settings.limits)
    try:
        told = list(Explainer(settings, pool).explain_files(find_files([tmp_path]).files))
    finally:
        pool.close()
    assert [one.disposition for one in told] == ["quarantined", "ticket"]
    assert told[0].reason.code == "unreadable"


def test_everything_of_a_large_mbox_is_told_in_order(explain: Callable[..., list[Explanation]]) -> None:
    mbox = b"".join(b"From a@b.example Sun Nov 22 04:00:00 2026\r\n" + make_mail(n) + b"\r\n" for n in range(150))
    told = explain("two.mbox", mbox)
    assert [one.parsed.subject for one in told if isinstance(one.parsed, ParsedMail)] == [f"Claim {n}" for n in range(150)]


def test_an_item_is_explained_by_the_rules_of_now(room: Room, parser_pool: ParserPool, tmp_path: Path) -> None:
    (item,) = room.take(arrival(make_mail(1)))
    changed = settings_for(room.settings.database_url, tmp_path, notices={"own_addresses": ["dana1@riverside.example"]})
    with room.database.read() as session:
        (now,) = Explainer(room.settings, parser_pool).explain_item(session, item.id)
        (later,) = Explainer(changed, parser_pool).explain_item(session, item.id)
    assert (now.path, now.disposition, later.disposition) == (f"item:{item.id}", "ticket", "own")
    assert len(room.items()) == 1


def test_a_row_that_arrived_is_explained_with_its_place(room: Room, parser_pool: ParserPool) -> None:
    room.take(workbook_arrival(make_workbook(make_row(1))))
    (row,) = room.items(kind="row")
    with room.database.read() as session:
        (one,) = Explainer(room.settings, parser_pool).explain_item(session, row.id)
    told = one.as_dict()
    assert (told["sheet"], told["row"], told["disposition"]) == ("Messages", 2, "ticket")
