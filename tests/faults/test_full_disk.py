"""A full disk, from which casemill recovers by itself, and a failing disk, which ends the process that writes to it."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from core import disk
from tests.faults.report import Row
from tests.faults.trial import FULL, Trial
from tests.servers.disk import SmallDisk
from tests.servers.tracer import Tracer
from tests.waiting import poll_until

ROUNDS = 3 if FULL else 1
#: The system calls by which only SQLite reads and writes in casemill.
CALLS = ("fsync,fdatasync", "pwrite64", "pread64")
#: Faults of PostgreSQL at the n-th fsync of a process.
SYNC_FAULTS = [f"{fault}:when={number}" for number in range(1, 13) for fault in ("signal=KILL", "error=EIO")]


@pytest.mark.fault("disk full")
@pytest.mark.timeout(600)
def test_a_full_disk_refuses_forms_leaves_mail_where_it_is_and_recovers_by_itself(
    small_disk: SmallDisk, mode: str, make_trial: Callable[..., Trial], row: Row
) -> None:
    row.runs = ROUNDS
    trial = make_trial(tablespace=small_disk.folder / "tables") if mode == "scaled" else make_trial()
    trial.start()
    for _ in range(ROUNDS):
        trial.send_mails(2)
        trial.settle()
        small_disk.fill()
        late = post_until_refused(trial)
        outages = trial.system.log.count("mailbox watcher waiting for the database")
        send_until_one_stays(trial)
        trial.wait(
            lambda outages=outages: trial.system.log.count("mailbox watcher waiting for the database") > outages, "trouble", 60
        )
        assert trial.servers.dovecot.count(trial.mailbox) >= 1
        assert trial.system.get("/healthz") == 200
        small_disk.clear()
        trial.post_until_accepted(late, 60)
        trial.settle(60, make_retries_due=True)
    assert set(trial.stop().values()) == {0}
    trial.check()


def noise(size: int) -> str:
    """Return text that does not compress, in lines that are short enough for every server."""
    chance = random.Random(size)
    return "\r\n".join(chance.randbytes(36).hex() for _ in range(size // 74)) + "\r\n"


def post_until_refused(trial: Trial) -> str:
    """Post forms until the last free pages are used and one is refused with 503; return its nonce."""
    for _ in range(500):
        nonce = trial.new_form()
        if trial.post(nonce) == 503:
            return nonce
        trial.post_until_accepted(nonce)
    raise AssertionError("a full disk took 500 forms")


def send_until_one_stays(trial: Trial) -> None:
    """Send mails until one stays in the mailbox: SQLite's write-ahead log keeps its size and stores what fits into it."""
    for _ in range(100):
        trial.send_mail(body=noise(300_000))
        if not poll_until(lambda: trial.servers.dovecot.count(trial.mailbox) == 0, 5):
            return
    raise AssertionError("a full disk took 100 mails")


@pytest.mark.fault("EIO from the disk of SQLite: the process ends with a line in the log and its own exit code")
@pytest.mark.parametrize("mode", ["embedded"])
@pytest.mark.timeout(600)
def test_a_disk_that_fails_ends_the_process_and_a_new_start_goes_on(
    tracing: None, trial: Trial, tmp_path: Path, row: Row
) -> None:
    calls = CALLS if FULL else CALLS[:1]
    row.runs = len(calls)
    for number, call in enumerate(calls):
        trial.start()
        trial.send_mails(2)
        trial.settle()
        with Tracer(trial.pid("run"), call, "error=EIO", tmp_path / f"trace{number}"):
            trial.send_mail()
            assert trial.wait_for_exit("run", 60) == disk.DISK_FAILURE_EXIT_CODE
        assert trial.system.log.count("disk failed, process exits") > number
    trial.start()
    trial.settle(60, make_retries_due=True)
    assert set(trial.stop().values()) == {0}
    trial.check()


@pytest.mark.fault("EIO and SIGKILL at the k-th fsync of a process of PostgreSQL, k from 1 to 12")
@pytest.mark.parametrize("mode", ["scaled"])
@pytest.mark.timeout(1800)
def test_postgresql_dies_at_an_fsync_and_nothing_is_lost_or_doubled(
    tracing: None, trial: Trial, tmp_path: Path, row: Row, seed: int
) -> None:
    faults = SYNC_FAULTS if FULL else random.Random(seed).sample(SYNC_FAULTS[:8], 2)
    row.runs = len(faults)
    postgres = trial.servers.postgres
    assert postgres
    trial.start()
    for number, fault in enumerate(faults):
        crashes = postgres.count_crashes()
        with Tracer(postgres.process.pid, "fsync,fdatasync", fault, tmp_path / f"trace{number}"):
            trial.wait(lambda crashes=crashes: trial.send_mail() and postgres.count_crashes() > crashes, "a crash", 60)
        if not postgres.wait_for_recovery():
            postgres.process.end(signal.SIGQUIT)
            postgres.start()
        trial.settle(60, make_retries_due=True)
    trial.check()
