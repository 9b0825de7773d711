"""Every process is killed at every failpoint, one after the other, while it works."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import pytest

from tests.e2e.system import ROOT
from tests.faults.report import Row
from tests.faults.trial import FULL, Trial

PACKAGES = ("cli", "core", "ingest", "notify", "outbox", "runtime", "tickets", "web")
FAILPOINTS = {
    "watch": (
        "imap.fetched", "imap.accepted", "imap.moved",
        "folder.accepted", "folder.settled", "folder.linked", "folder.written",
    ),
    "workers": (
        "ingest.claimed", "ingest.parsed", "ingest.storing", "ingest.stored", "outbox.relayed",
        "notify.claimed", "notify.frozen", "notify.intent", "notify.accepted",
    ),
    "web": ("hint.sent",),
}  # fmt: skip
#: One failpoint for each line of the fault matrix; the full form uses all of them, three times.
SHORT = {"imap.fetched", "imap.accepted", "ingest.parsed", "ingest.storing", "ingest.stored", "notify.claimed", "notify.accepted"}
#: tests/ingest/test_crashes.py kills between two chunks of a workbook of hundreds of rows.
ELSEWHERE = {"workbook.chunk"}
ROUNDS = 3 if FULL else 1


def test_every_failpoint_of_the_product_is_killed_at() -> None:
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    found = {name for file in [*files, ROOT / "workers.py"] for name in re.findall(r'failpoint\("([a-z.]+)"\)', file.read_text())}
    assert found == {name for names in FAILPOINTS.values() for name in names} | ELSEWHERE


def failpoints(process: str) -> list[str]:
    return [name for name in FAILPOINTS[process] if FULL or name in SHORT or process == "web"] * ROUNDS


def crash_each(trial: Trial, process: str, names: Sequence[str], work: Callable[[], object]) -> None:
    """Start ``process`` so that it is killed at each failpoint; each time there is new work and the rest of the last run."""
    for name in names:
        trial.start(process, crash_at=name, ready=False)
        work()
        assert trial.wait_for_exit(process) != 0, name
    trial.start(process, ready=False)


@pytest.mark.fault(
    "kill after FETCH before the ledger commit, after it, before and after the move of the mail or file",
    "kill between ledger and ticket, in the middle of the ticket transaction, after its commit",
    "kill after fact before enqueue, after enqueue, after claim, before the final dot, after 250 before sent",
)
@pytest.mark.timeout(2400)
def test_a_kill_between_any_two_steps_loses_and_doubles_nothing(trial: Trial, row: Row) -> None:
    def work() -> None:
        trial.send_mails(2)
        trial.drop_file()

    row.runs = sum(len(failpoints(process)) for process in FAILPOINTS)
    if trial.mode == "embedded":
        crash_each(trial, "run", [name for process in FAILPOINTS for name in failpoints(process)], work)
    else:
        trial.start("web", "watch", "tick", ready=False)
        crash_each(trial, "workers", failpoints("workers"), trial.send_mail)
        trial.kill("watch")
        crash_each(trial, "watch", failpoints("watch"), work)
        crash_the_web(trial)
    trial.settle(90, make_retries_due=True)
    assert set(trial.stop().values()) == {0}
    trial.check()


def crash_the_web(trial: Trial) -> None:
    """Kill the web server after a form is stored and its drain requested, before and after the sender gets the answer."""
    for name in failpoints("web"):
        trial.kill("web")
        trial.start("web", crash_at=name)
        form = trial.new_form()
        trial.post(form)
        assert trial.wait_for_exit("web") != 0
        trial.start("web")
        trial.post_until_accepted(form)
