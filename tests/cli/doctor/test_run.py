"""`casemill doctor`: what each check finds and leaves unchanged, and that no check stops the others."""

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from imapclient.exceptions import LoginError

from cli.doctor import run as doctor
from cli.doctor.connections import MAILBOX_HINTS
from cli.doctor.run import DoctorCheck
from core import clock
from core.database.session import Database
from core.findings import Finding, ok
from core.settings import load
from ingest.ledger.accept import accept
from ingest.ledger.types import MAIL, Arrival
from ingest.sources.imap.session import error_code
from tests.cli.support import run, run_process
from tests.ingest.sources.support import message
from tests.servers.dovecot import DovecotServer
from tests.servers.smtp import SmtpServer


def run_doctor(*expected_code: int) -> dict[str, dict[str, str]]:
    """Return the findings by check: of several of one check, the worst."""
    ran = run("doctor", "--json")
    assert ran.code in (expected_code or (0, 1))
    rank = {"ok": 0, "warning": 1, "problem": 2}
    worst: dict[str, dict[str, str]] = {}
    for one in ran.json:
        if one["check"] not in worst or rank[one["state"]] > rank[worst[one["check"]]["state"]]:
            worst[one["check"]] = one
    return worst


@pytest.fixture
def configure(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Writes the configuration the commands find."""
    monkeypatch.delenv("CASEMILL_CONFIG")

    def write(text: str) -> None:
        (workdir / "casemill.toml").write_text(text)

    return write


def test_fresh_installation_has_no_problem(workdir: Path) -> None:
    run("init", "--admin-name", "Ruth Calder", "--admin-email", "ruth@billing.example")
    found = run_doctor(0)
    assert {name for name, one in found.items() if one["state"] == "ok"} >= {
        "configuration", "database", "data_dir", "mail out", "redis", "forms", "clock", "staff", "routing", "queue", "quarantine",
    }  # fmt: skip
    shown = run("doctor").out
    assert "ok       database" in shown and "hint:" in shown


def test_missing_database_is_a_problem_and_is_not_created(workdir: Path) -> None:
    ran = run_process("doctor", cwd=workdir)
    assert ran.code == 1
    assert "there is no database yet" in ran.out and "casemill init" in ran.out
    assert "mail out" in ran.out and "Traceback" not in ran.err
    assert list(workdir.iterdir()) == []


def test_wrong_configuration_is_reported_with_file_key_and_hint(configure: Callable[[str], None]) -> None:
    configure("[notices]\ncolour = 1\n")
    found = run_doctor(1)
    assert "casemill.toml: notices.colour" in found["configuration"]["text"]
    assert found["configuration"]["hint"]


def test_each_unreachable_service_is_a_problem_of_its_own_check(configure: Callable[[str], None], workdir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nothing else can answer there
        port = taken.getsockname()[1]
        configure(
            f'database_url = "postgresql://nobody@127.0.0.1:{port}/none"\nredis_url = "redis://127.0.0.1:{port}/0"\n'
            f'smtp_url = "smtp://127.0.0.1:{port}"\n[mailboxes.support]\nhost = "127.0.0.1"\nport = {port}\nuser = "u"\n'
            f'password = "hunter2"\n[folders.drop]\npath = "{workdir / "casemill.toml"}"\n[forms.551]\nunsigned = true\n'
        )
        began = time.monotonic()
        ran = run("doctor")
    assert time.monotonic() - began < 30
    assert ran.code == 1
    for check in ("database", "mail out", "redis", "mailbox support", "folder drop"):
        assert f"problem  {check}" in ran.out
    assert "connection refusal" in ran.out
    assert "warning  forms" in ran.out and "unsigned" in ran.out
    assert "hunter2" not in ran.out


def test_unknown_staff_and_teams_are_reported(configure: Callable[[str], None]) -> None:
    configure(
        '[teams.support]\ndefault = true\nmanager = "gone@billing.example"\nmembers = ["gone@billing.example"]\n'
        '[[routing.rules]]\nkeyword = "denial"\nteam = "nobody"\n'
    )
    run("migrate")
    found = run_doctor(1)
    assert found["staff"]["state"] == "warning"
    assert "no member who is on the staff" in found["teams"]["text"] or "gone@billing.example" in found["teams"]["text"]
    assert "there is no team nobody" in found["routing"]["text"]
    run("staff", "add", "gone@billing.example", "--name", "Gone")
    assert run_doctor(1)["teams"]["state"] == "ok"


def test_several_default_teams_are_a_problem(configure: Callable[[str], None]) -> None:
    configure("[teams.a]\ndefault = true\n[teams.b]\ndefault = true\n")
    run("migrate")
    assert "several teams are the default" in run_doctor(1)["teams"]["text"]


def test_staff_without_working_hours_are_a_problem(workdir: Path) -> None:
    run("staff", "add", "mara@billing.example", "--name", "Mara")
    database = Database(load().database)
    with database.write() as session:
        session.connection().exec_driver_sql("UPDATE staff SET weekdays = ''")
    database.close()
    assert "mara@billing.example has no working hours" in run_doctor(1)["staff"]["text"]


def test_overdue_work_and_quarantined_items_are_reported(workdir_each_database: Path) -> None:
    database = Database(load().database)
    late = clock.now() - timedelta(minutes=5)
    arrivals = [Arrival(MAIL, "mail", "upload", str(n), message(n), late) for n in range(2)]
    accepted = database.transaction(lambda session: accept(session, arrivals, late))
    with database.write() as session:
        aside = "UPDATE inbound_item SET state = 'settled', disposition = 'quarantined' WHERE id ="
        session.connection().exec_driver_sql(f"{aside} {accepted[0].item_id}")
    database.close()
    found = run_doctor(1)
    assert found["queue"]["text"].startswith("waiting: items 1 since")
    assert (found["quarantine"]["state"], found["quarantine"]["text"]) == ("warning", "items in quarantine: 1")
    assert found["clock"]["state"] == "ok"


def test_mailbox_sign_in_is_tried_and_its_old_mail_counted(configure: Callable[[str], None], dovecot: DovecotServer) -> None:
    dovecot.add_user("desk")
    for number in range(3):
        dovecot.deliver("desk", message(number))
    box = f'host = "{dovecot.host}"\nport = {dovecot.tls_port}\nuser = "desk"\nca_file = "{dovecot.ca_file}"\nmove_to = "Done"\n'
    configure(f'[mailboxes.support]\n{box}password = "{dovecot.password}"\n[mailboxes.wrong]\n{box}password = "wrong"\n')
    run("migrate")
    found = run_doctor(1)
    assert found["mailbox support"]["state"] == "ok"
    assert "INBOX has 3 messages" in found["mailbox support"]["text"] and "leave out" in found["mailbox support"]["text"]
    assert found["mailbox wrong"]["text"].endswith("login refusal")
    assert dovecot.count("desk") == 3


def test_relay_sign_in_is_tried_without_sending_mail(configure: Callable[[str], None], smtp_starttls_server: SmtpServer) -> None:
    server = smtp_starttls_server
    run("migrate")
    for password, state in (("correct%20horse", "ok"), ("wrong", "problem")):
        configure(f'smtp_url = "smtp://casemill:{password}@localhost:{server.port}?cafile={server.ca_file}"\n')
        finding = run_doctor()["mail out"]
        assert finding["state"] == state
        assert "horse" not in finding["text"]
    assert server.transactions == []


def test_redis_is_checked_when_it_is_configured(configure: Callable[[str], None], redis_url: str) -> None:
    configure(f'redis_url = "{redis_url}"\n')
    assert run_doctor()["redis"] == {"check": "redis", "state": "ok", "text": "answers", "hint": ""}


def test_common_mailbox_failures_have_their_own_hint() -> None:
    failures = (LoginError(), ConnectionRefusedError(), TimeoutError(), socket.gaierror(), ssl.SSLCertVerificationError())
    assert {error_code(error) for error in failures} <= set(MAILBOX_HINTS)


def test_check_that_fails_or_hangs_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Iterator[Finding]:
        raise RuntimeError("the text of a message")
        yield ok("never", "")

    def hang() -> Iterator[Finding]:
        time.sleep(5)
        yield ok("hangs", "")

    threads = [doctor._CheckThread(DoctorCheck(name, act)) for name, act in (("fails", fail), ("hangs", hang))]
    threads.append(doctor._CheckThread(DoctorCheck("well", lambda: iter([ok("well", "fine")]))))
    deadline = time.monotonic() + 1
    found = [one for thread in threads for one in thread.collect(deadline)]
    assert [(one.check, one.severity) for one in found] == [("fails", "problem"), ("hangs", "problem"), ("well", "ok")]
    assert "text of a message" not in str(found)
