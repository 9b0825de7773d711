"""`casemill ingest`, `explain` and `receipt`, run as commands."""

import os
import socket
from pathlib import Path

import pytest
from openpyxl import load_workbook

from tests.cli.support import CommandResult, run, run_process, write_form, write_mail, write_workbook

MAIL_KEYS = [
    "path", "from", "from_name", "to", "cc", "subject", "date", "message_id", "in_reply_to", "references", "body", "html_text",
    "reply", "quoted", "signature", "attachments", "automatic", "is_auto", "is_bounce", "is_dsn", "is_list",
    "is_feedback_report", "is_mdn", "must_not_autoreply", "bounce", "is_forward", "forward", "requester", "disposition",
    "reason", "notes",
]  # fmt: skip


def counts(ran: CommandResult) -> dict[str, int]:
    """Return the counts of the summary by disposition."""
    lines = ran.out.split("\n\n")[0].splitlines()[1:]
    return {line.split()[0]: int(line.split()[1]) for line in lines if len(line.split()) == 2 and line.split()[1].isdigit()}


def test_files_of_every_kind_become_tickets_with_notices(workdir_each_database: Path) -> None:
    write_mail(workdir_each_database / "a.eml", 1)
    write_form(workdir_each_database / "f.json")
    write_workbook(workdir_each_database / "w.xlsx", rows=2)
    ran = run("ingest", "a.eml", "f.json", "w.xlsx")
    assert (ran.code, counts(ran)) == (0, {"ticket": 4})
    tickets = run("tickets", "--json").json
    assert sorted(ticket["source"] for ticket in tickets) == ["email", "formstack", "secure_message", "secure_message"]
    assert {ticket["stage"] for ticket in tickets} == {"4-In Progress"}
    assert len(list((workdir_each_database / "var/sent/new").iterdir())) == 4


def test_old_mail_becomes_tickets_without_mail_to_customers(workdir: Path) -> None:
    write_mail(workdir / "old.eml", 1)
    assert counts(run("ingest", "old.eml", "--history")) == {"ticket": 1}
    assert [ticket["source"] for ticket in run("tickets", "--json").json] == ["email"]
    sent = workdir / "var/sent/new"
    assert not sent.exists() or not list(sent.iterdir())


def test_second_ingest_of_a_file_is_a_duplicate_that_names_its_ticket(workdir: Path) -> None:
    write_mail(workdir / "a.eml", 1)
    first = run("ingest", "a.eml", "--json").json
    again = run("ingest", "a.eml", "--json")
    assert (first[0]["disposition"], first[0]["ticket"]) == ("ticket", "BS-000001")
    assert (again.code, again.json[0]["disposition"], again.json[0]["ticket"]) == (0, "duplicate", "BS-000001")
    assert "BS-000001" in run("ingest", "a.eml").out
    assert len(run("tickets", "--json").json) == 1


def test_refused_files_are_listed_and_the_others_are_taken_in(workdir: Path) -> None:
    write_mail(workdir / "a.eml", 1)
    (workdir / "empty.eml").touch()
    (workdir / "noise.eml").write_bytes(b"\x00\xff" * 500)
    (workdir / "broken.json").write_text("{")
    (workdir / "old.xls").write_bytes(b"\xd0\xcf\x11\xe0" * 100)
    with (workdir / "huge.eml").open("wb") as file:
        file.truncate(60 * 1024 * 1024)
    ran = run("ingest", "empty.eml", "noise.eml", "broken.json", "old.xls", "huge.eml", "missing.eml", "a.eml")
    assert (ran.code, counts(ran)) == (1, {"rejected": 6, "ticket": 1})
    for text in ("empty.eml", "noise.eml", "broken.json", "old.xls", "huge.eml", "missing.eml", "There is no such file"):
        assert text in ran.out


def test_workbook_receipt_never_overwrites_an_earlier_one(workdir: Path) -> None:
    write_workbook(workdir / "w.xlsx", rows=2, rejected=1)
    first = run("ingest", "w.xlsx")
    assert (first.code, counts(first)) == (1, {"rejected": 1, "ticket": 2})
    (workdir / "w.receipt.xlsx").rename(workdir / "kept.xlsx")
    (workdir / "w.receipt.xlsx").write_bytes(b"edited by a person")
    again = run("ingest", "w.xlsx")
    assert counts(again) == {"duplicate": 3}
    assert (workdir / "w.receipt.xlsx").read_bytes() == b"edited by a person"
    rows = list(load_workbook(workdir / "kept.xlsx").worksheets[0].iter_rows(values_only=True))
    assert [row[6] for row in rows] == ["Outcome", "ticket", "ticket", "rejected"]
    repeated = list(load_workbook(workdir / "w.receipt-2.xlsx").worksheets[0].iter_rows(values_only=True))
    assert [row[6:8] for row in repeated[1:3]] == [("duplicate", "BS-000001"), ("duplicate", "BS-000002")]


def test_folders_mboxes_and_maildirs_are_searched(workdir: Path) -> None:
    write_mail(workdir / "box/a.eml", 1)
    write_mail(workdir / "box/deeper/without-suffix", 2)
    mails = "".join(f"From a@b.example Sun Nov 22 04:00:00 2026\n{write_mail(workdir / 'm', n).read_text()}\n" for n in (3, 4))
    (workdir / "box/two.mbox").write_text(mails)
    for name in ("cur", "new", "tmp"):
        (workdir / "box/maildir" / name).mkdir(parents=True)
    write_mail(workdir / "box/maildir/cur/1700000000.x:2,S", 5)
    write_mail(workdir / "box/maildir/tmp/1700000001.x", 6)
    (workdir / "box/README.txt").write_text("Note: not a mail\n")
    ran = run("ingest", "box")
    assert (ran.code, counts(ran)) == (0, {"ticket": 5})
    assert "files of other kinds, not taken in: 1" in ran.out


def test_rules_of_the_named_mailbox_apply_to_files(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = '[mailboxes.support]\nhost = "127.0.0.1"\nuser = "u"\npassword = "p"\nlists = "ticket"\ncategory = "Claims"\n'
    (workdir / "casemill.toml").write_text(config)
    mail = write_mail(workdir / "list.eml", 1)
    mail.write_text("List-Id: <news.oak.example>\n" + mail.read_text())
    monkeypatch.delenv("CASEMILL_CONFIG")
    assert run("explain", "list.eml", "--json").lines[0]["disposition"] == "list"
    assert run("explain", "list.eml", "--json", "--source", "support").lines[0]["disposition"] == "ticket"
    assert run("ingest", "list.eml", "--source", "mailbox:support", "--json").json[0]["disposition"] == "ticket"
    assert run("ticket", "show", "1", "--json").json["category"] == "Claims"
    wrong = run("ingest", "list.eml", "--source", "nobody")
    assert (wrong.code, "mailbox:support" in wrong.err) == (2, True)


def test_explain_writes_nothing_and_needs_neither_database_nor_configuration(workdir: Path) -> None:
    write_mail(workdir / "a.eml", 1)
    before = sorted(workdir.rglob("*"))
    database = "postgresql://nobody@127.0.0.1:1/none"
    ran = run_process("explain", "a.eml", "--json", cwd=workdir, CASEMILL_DATABASE_URL=database, CASEMILL_DATA_DIR="nowhere")
    assert (ran.code, ran.err) == (0, "")
    assert sorted(ran.lines[0]) == sorted(MAIL_KEYS)
    assert ran.lines[0]["disposition"] == "ticket"
    assert sorted(workdir.rglob("*")) == before


def test_two_hundred_mails_are_explained_in_the_given_order(workdir: Path) -> None:
    paths = [write_mail(workdir / f"{number * 7919 % 200:03}.eml", number) for number in range(200)]
    ran = run("explain", "--json", *paths)
    assert ran.code == 0
    assert [line["path"] for line in ran.lines] == [str(path) for path in paths]
    assert [line["subject"] for line in ran.lines] == [f"Claim {number}" for number in range(200)]


def test_unreadable_file_is_explained_in_its_place(workdir: Path) -> None:
    (workdir / "empty.eml").touch()
    write_mail(workdir / "a.eml", 1)
    os.mkfifo(workdir / "pipe.eml")
    odd = os.fsdecode(b"odd-\xff.eml")
    ran = run("explain", "--json", "empty.eml", "missing.eml", "pipe.eml", odd, "a.eml", "missing.json", "missing.xlsx")
    assert ran.code == 1
    assert [line["disposition"] for line in ran.lines] == ["rejected"] * 4 + ["ticket"] + ["rejected"] * 2
    assert all(line["reason"] for line in ran.lines)
    assert [set(line) for line in ran.lines[:5]] == [set(MAIL_KEYS)] * 5
    assert (ran.lines[5]["form_id"], ran.lines[6]["sheet"]) == (None, None)


def test_forms_and_rows_are_explained_with_fields_but_without_secrets(workdir: Path) -> None:
    write_form(workdir / "f.json")
    write_workbook(workdir / "w.xlsx", rows=1, rejected=1)
    form, row, rejected = run("explain", "--json", "f.json", "w.xlsx").lines
    assert (form["form_id"], form["submission_id"]) == ("5512345", "1512345678")
    assert form["requester"] == "dana.ortiz@riverside.example"
    assert form["fields"]["details"] == "Claim 88-2041 was denied twice."
    assert "demo-shared-secret" not in str(form)
    assert (row["sheet"], row["row"], row["fields"]["subject"], row["disposition"]) == ("Sheet", 2, "Claim", "ticket")
    assert (rejected["row"], rejected["disposition"]) == (3, "rejected")


def test_explain_prints_outcome_and_reason(workdir: Path) -> None:
    mail = write_mail(workdir / "a.eml", 1)
    mail.write_text("Auto-Submitted: auto-replied\n" + mail.read_text())
    ran = run("explain", "a.eml")
    assert "ticket: a ticket is opened" in ran.out
    assert "RFC 3834" in ran.out
    assert "the sender gets no automatic mail" in ran.out


def test_arrived_item_is_explained_by_its_number(workdir_each_database: Path) -> None:
    write_workbook(workdir_each_database / "w.xlsx", rows=1)
    write_mail(workdir_each_database / "a.eml", 1)
    run("ingest", "a.eml", "w.xlsx")
    lines = [run("explain", "--item", number, "--json").lines[0] for number in (1, 2, 3)]
    assert {line.get("subject") or line["fields"]["subject"] for line in lines} == {"Claim 1", "Claim"}
    assert [line["disposition"] for line in lines] == ["ticket"] * 3
    missing = run("explain", "--item", 99)
    assert (missing.code, "there is no item 99" in missing.err) == (1, True)


@pytest.mark.parametrize("arguments", [[], ["a.eml", "--item", "1"]])
def test_explain_requires_either_files_or_an_item(workdir: Path, arguments: list[str]) -> None:
    assert run("explain", *arguments).code == 2


def test_unreachable_database_is_reported_without_a_traceback(workdir: Path) -> None:
    write_mail(workdir / "a.eml", 1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: no other process can answer there
        url = f"postgresql://nobody@127.0.0.1:{taken.getsockname()[1]}/none"
        for command in (["ingest", "a.eml"], ["tickets"], ["quarantine", "list"], ["staff", "list"]):
            ran = run_process(*command, cwd=workdir, CASEMILL_DATABASE_URL=url)
            assert (ran.code, ran.out) == (1, "")
            assert ran.err.startswith("error: the database does not answer") and "hint:" in ran.err
            assert "Traceback" not in ran.err


def test_receipt_of_a_workbook_is_written_by_item_number(workdir: Path) -> None:
    write_workbook(workdir / "w.xlsx", rows=2)
    run("ingest", "w.xlsx")
    ran = run("receipt", 1, "--to", "again.xlsx")
    assert (ran.code, ran.out.strip()) == (0, "Receipt: again.xlsx")
    rows = list(load_workbook(workdir / "again.xlsx").worksheets[0].iter_rows(values_only=True))
    assert [row[-3] for row in rows] == ["Outcome", "ticket", "ticket"]
    assert run("receipt", 99).code == 1


def test_notices_are_left_to_a_running_process(workdir: Path) -> None:
    from runtime.single_instance import single_instance_lock

    write_mail(workdir / "a.eml", 1)
    run("migrate")
    with single_instance_lock(workdir / "var" / "casemill.db"):
        assert run("ingest", "a.eml").code == 0
    assert not list((workdir / "var").glob("sent/new/*"))
    run("ingest", "a.eml")
    assert len(list((workdir / "var/sent/new").iterdir())) == 1
