"""`casemill tickets` and `casemill ticket`: lists, one ticket, and new ones by hand."""

import os
import pty
import select
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.support import CLI_PROGRAM, CommandResult, run, write_mail
from tests.waiting import Deadline, wait_for_exit

OWNER = "mara.lind@billing.example"


@pytest.fixture
def staffed(workdir_each_database: Path) -> Path:
    """A company, its contact and one member of staff."""
    run("staff", "add", OWNER, "--name", "Mara Lind")
    run("company", "add", "Oak Hill Clinic", "--domain", "oakhill.example")
    run("contact", "add", "lee.moss@oakhill.example", "--name", "Lee Moss", "--company", "Oak Hill Clinic")
    return workdir_each_database


def new(*arguments: str) -> CommandResult:
    return run("ticket", "new", "--owner", OWNER, *arguments)


def test_manual_ticket_has_all_fields_and_sends_its_notices(staffed: Path) -> None:
    (staffed / "scan.pdf").write_bytes(b"%PDF-1.7 a scan")
    ran = new(
        "--company", "Oak Hill Clinic", "--email", "Lee.Moss@oakhill.example", "--name", "Lee Moss", "--phone", "555 010 4477",
        "--description", "Claim 88 was denied.", "--contact", "ann@oakhill.example", "--category", "Claims",
        "--issue", "Denial", "--detail", "Timely filing", "--prefers", "phone", "--attach", "scan.pdf", "--json",
    )  # fmt: skip
    assert ran.code == 0
    ticket = ran.json
    wanted = {
        "number": "BS-000001", "name": "Support – Oak Hill Clinic", "source": "phone", "owner": "Mara Lind",
        "company": "Oak Hill Clinic", "requester": "lee.moss@oakhill.example", "description": "Claim 88 was denied.",
        "category": "Claims", "issue": "Denial", "issue_detail": "Timely filing", "preferred_contact": "phone",
        "stage": "4-In Progress", "creation_notice": "sent", "missing": [],
    }  # fmt: skip
    assert {name: ticket[name] for name in wanted} == wanted
    assert [(one["email"], one["role"]) for one in ticket["contacts"]] == [
        ("lee.moss@oakhill.example", "requester"), ("ann@oakhill.example", "participant"),
    ]  # fmt: skip
    assert [(one["name"], one["type"], one["size"]) for one in ticket["attachments"]] == [("scan.pdf", "application/pdf", 15)]
    recipients = {mail.read_text().split("Delivered-To: ")[1].split()[0] for mail in (staffed / "var/sent/new").iterdir()}
    assert recipients == {"lee.moss@oakhill.example", OWNER}


def test_missing_information_is_listed_on_the_ticket(staffed: Path) -> None:
    ran = new("--name", "Lee", "--description", "Please call")
    assert ran.code == 0
    assert "missing: the requester's email address" in ran.out
    assert run("ticket", "show", "BS-000001", "--json").json["creation_notice"] == "skipped"


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--owner", "", "--name", "Lee", "--description", "x"], 2, "needs an owner"),
        (["--name", "Lee"], 2, "what it is about"),
        (["--description", "x"], 2, "has no requester"),
        (["--email", "not an address", "--description", "x"], 2, "not one plain email address"),
        (["--contact", "nobody", "--name", "Lee", "--description", "x"], 2, "not one plain email address"),
        (["--name", "Lee", "--description", "x", "--prefers", "fax"], 2, "fax"),
        (["--owner", "nobody@billing.example", "--name", "Lee", "--description", "x"], 1, "no member of staff"),
        (["--name", "Lee", "--description", "x", "--attach", "missing.pdf"], 1, "missing.pdf"),
    ],
)
def test_invalid_manual_ticket_is_refused(workdir: Path, arguments: list[str], code: int, text: str) -> None:
    run("staff", "add", OWNER, "--name", "Mara Lind")
    ran = new(*arguments)
    assert (ran.code, text in ran.err) == (code, True)
    assert run("tickets", "--json").json == []


def test_inactive_person_cannot_own_a_new_ticket(workdir: Path) -> None:
    run("staff", "add", OWNER, "--name", "Mara Lind", "--inactive")
    ran = new("--name", "Lee", "--description", "x")
    assert (ran.code, "no longer active" in ran.err) == (2, True)


def test_ticket_list_is_limited_by_view_source_and_number(workdir_each_database: Path) -> None:
    for number in range(3):
        write_mail(workdir_each_database / f"{number}.eml", number)
    run("ingest", ".")
    rows = run("tickets", "--json").json
    assert [row["number"] for row in rows] == ["BS-000003", "BS-000002", "BS-000001"]
    assert set(rows[0]) == {
        "number", "source", "stage", "owner", "owner_away", "company", "requester", "created_at",
    }  # fmt: skip
    assert len(run("tickets", "--json", "--limit", 2).json) == 2
    assert run("tickets", "--json", "--source", "secure message").json == []
    assert len(run("tickets", "--json", "--view", "PMB Support Unassigned/Open Tickets").json) == 3
    assert run("tickets", "--view", "completed").out == "no tickets in the view “Completed”\n"
    assert "unassigned" in run("tickets", "--view", "open").out


def test_ticket_is_shown_with_timeline_and_reasons(staffed: Path) -> None:
    write_mail(staffed / "a.eml", 1, "Hello,\nplease look at claim 88.")
    run("ingest", "a.eml")
    shown = run("ticket", "show", "bs-1")
    for text in ("BS-000001  Claim 1", "the company is not known", "please look at claim 88", "because: There is no default team",
                 "Creation notice sent", "Moved to 4-In Progress"):  # fmt: skip
        assert text in shown.out
    ticket = run("ticket", "show", "1", "--json").json
    assert [entry["kind"] for entry in ticket["timeline"]] == ["message_in", "assignment", "notice", "stage"]
    assert all(entry["reasons"] for entry in ticket["timeline"])


def test_quoted_text_and_signature_are_shown_only_with_full(staffed: Path) -> None:
    wrote = "On Mon, Nov 2, 2026 at 9:12 AM A <a@oak.example> wrote:"
    write_mail(staffed / "a.eml", 1, f"It is paid.\n\n-- \nDana\n\n{wrote}\n> Paid?")
    run("ingest", "a.eml")
    shown, full = run("ticket", "show", "1").out, run("ticket", "show", "1", "--full").out
    assert "It is paid." in shown and "signature and quoted not shown: --full" in shown
    assert "Paid?" not in shown and "Dana\n" not in shown.partition("timeline")[2]
    assert "> Paid?" in full and "signature:" in full and "not shown" not in full
    (message, *_) = run("ticket", "show", "1", "--json").json["timeline"]
    assert (message["body"], message["signature"], "> Paid?" in message["quoted"]) == ("It is paid.", "-- \nDana", True)


@pytest.mark.parametrize("number", ["BS-000099", "nonsense", "0"])
def test_unknown_ticket_is_reported(workdir: Path, number: str) -> None:
    run("migrate")
    ran = run("ticket", "show", number)
    assert (ran.code, ran.out) == (1, "")
    assert f"there is no ticket {number}" in ran.err and "hint:" in ran.err


def test_terminal_prompts_for_missing_values_and_output_fits_its_width(workdir: Path) -> None:
    run("staff", "add", OWNER, "--name", "Mara Lind")
    answers = [OWNER, "Oak Hill Clinic", "Lee Moss", "lee.moss@oakhill.example", "555 010 4477", "A long story " * 20]
    written = on_terminal(["ticket", "new"], answers)
    assert "Name of the caller" in written and "BS-000001" in written
    shown = on_terminal(["ticket", "show", "1"], [])
    assert "A long story" in shown
    assert max(map(len, shown.splitlines())) <= 80


def on_terminal(arguments: list[str], answers: list[str]) -> str:
    """Return what a command writes to a terminal of 80 columns that gives these answers, one to each question."""
    main, child = pty.openpty()
    environ = {**os.environ, "COLUMNS": "80", "TERM": "dumb"}
    command = [sys.executable, "-c", CLI_PROGRAM, *arguments]
    process = subprocess.Popen(command, stdin=child, stdout=child, stderr=child, env=environ)
    os.close(child)
    written, answered = "", 0
    deadline = Deadline(60)
    while not deadline.has_passed():
        ready, _, _ = select.select([main], [], [], 0.1)
        try:
            written += os.read(main, 65536).decode() if ready else ""
        except OSError:  # Linux says EIO when the other end is closed
            break
        if answered < len(answers) and written.endswith(": "):
            os.write(main, answers[answered].encode() + b"\n")
            answered += 1
            written += "\n"
    os.close(main)
    assert wait_for_exit(process, 30) == 0, written
    return written.replace("\r", "")


def test_listing_tickets_creates_no_database(workdir: Path) -> None:
    ran = run("tickets")
    assert ran.code == 1
    assert "no database here" in ran.err and "hint:" in ran.err
    assert not (workdir / "var").exists()
