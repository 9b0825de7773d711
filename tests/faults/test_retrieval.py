"""IMAP connections are cut, UIDs change, and webhooks are repeated."""

import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.report import Row
from tests.faults.shared_trial import SharedTrial
from tests.faults.trial import FULL, SECOND_MAILBOX

CUTS = 40 if FULL else 3
ROUNDS = 5 if FULL else 1


@pytest.mark.fault("IMAP connection cut after k bytes: in a greeting, an answer, a literal, while idle")
@pytest.mark.timeout(600)
def test_imap_cut_at_any_byte_loses_and_doubles_nothing(shared_trial: SharedTrial, row: Row, seed: int) -> None:
    chance = random.Random(seed)
    row.runs = CUTS + 1
    for _ in range(CUTS):
        shared_trial.trial.send_mail(body="x" * 20_000)
        shared_trial.proxy.cut_after(chance.randrange(3_000, 30_000))
        shared_trial.proxy.cut_now()  # cuts the connection in IDLE; the next one is cut after k bytes
        time.sleep(0.3)
    shared_trial.proxy.resume()
    shared_trial.settle_and_check(90)


@pytest.mark.fault("dovecot-uidlist deleted: a new UIDVALIDITY, every mail seen again")
@pytest.mark.timeout(900)
def test_a_new_uidvalidity_brings_nothing_twice(shared_trial: SharedTrial, row: Row) -> None:
    trial, count = shared_trial.trial, shared_trial.trial.system.count
    row.runs = ROUNDS
    for _ in range(ROUNDS):
        trial.send_mails(2)
        trial.send_mails(3, mailbox=SECOND_MAILBOX)
        trial.settle()
        seen = count(f"sighting WHERE source = 'mailbox:{SECOND_MAILBOX}'")
        for mailbox in (trial.mailbox, SECOND_MAILBOX):
            shared_trial.dovecot.reset_uidvalidity(mailbox)
        shared_trial.dovecot.cut_connections()
        trial.send_mail()
        trial.send_mail(mailbox=SECOND_MAILBOX)
        due = seen + shared_trial.dovecot.count(SECOND_MAILBOX)
        # Dovecot may number a mail twice when it is queried during the change.
        trial.wait(lambda due=due: count(f"sighting WHERE source = 'mailbox:{SECOND_MAILBOX}'") >= due, f"{due} sightings", 60)
        shared_trial.settle_and_check(60)


@pytest.mark.fault("the same webhook 100 times at once")
@pytest.mark.timeout(600)
def test_the_same_webhook_a_hundred_times_at_once_makes_one_ticket(shared_trial: SharedTrial, row: Row) -> None:
    row.runs = ROUNDS
    for _ in range(ROUNDS):
        nonce = shared_trial.trial.new_form()
        with ThreadPoolExecutor(100) as pool:
            answers = list(pool.map(lambda _, nonce=nonce: shared_trial.trial.post(nonce), range(100)))
        assert set(answers) == {200}
        shared_trial.settle_and_check()
