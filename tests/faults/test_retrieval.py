"""The way in is cut, forgets its numbers, or repeats itself."""

import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.report import Row
from tests.faults.scene import Scene
from tests.faults.trial import FULL, KEPT

CUTS = 40 if FULL else 3
ROUNDS = 5 if FULL else 1


@pytest.mark.fault("IMAP connection cut after k bytes: in a greeting, an answer, a literal, while idle")
@pytest.mark.timeout(600)
def test_imap_cut_at_any_byte_loses_and_doubles_nothing(scene: Scene, row: Row, seed: int) -> None:
    chance = random.Random(seed)
    row.runs = CUTS + 1
    for _ in range(CUTS):
        scene.trial.send_mail(body="x" * 20_000)
        scene.proxy.cut_after(chance.randrange(3_000, 30_000))
        scene.proxy.cut_now()  # a connection that waits in IDLE; the next one is cut after k bytes
        time.sleep(0.3)
    scene.proxy.resume()
    scene.calm(90)


@pytest.mark.fault("dovecot-uidlist deleted: a new UIDVALIDITY, every mail seen again")
@pytest.mark.timeout(900)
def test_a_new_uidvalidity_brings_nothing_twice(scene: Scene, row: Row) -> None:
    trial, count = scene.trial, scene.trial.system.count
    row.runs = ROUNDS
    for _ in range(ROUNDS):
        trial.send_mails(2)
        trial.send_mails(3, mailbox=KEPT)
        trial.settle()
        seen = count(f"sighting WHERE source = 'mailbox:{KEPT}'")
        for mailbox in (trial.mailbox, KEPT):
            scene.dovecot.reset_uidvalidity(mailbox)
        scene.dovecot.cut_connections()
        trial.send_mail()
        trial.send_mail(mailbox=KEPT)
        due = seen + scene.dovecot.count(KEPT)
        # Dovecot may number it twice, when it is asked in the middle of the loss.
        trial.wait(lambda due=due: count(f"sighting WHERE source = 'mailbox:{KEPT}'") >= due, f"{due} sightings", 60)
        scene.calm(60)


@pytest.mark.fault("the same webhook 100 times at once")
@pytest.mark.timeout(600)
def test_the_same_webhook_a_hundred_times_at_once_makes_one_ticket(scene: Scene, row: Row) -> None:
    row.runs = ROUNDS
    for _ in range(ROUNDS):
        nonce = scene.trial.new_form()
        with ThreadPoolExecutor(100) as pool:
            answers = list(pool.map(lambda _, nonce=nonce: scene.trial.post(nonce), range(100)))
        assert set(answers) == {200}
        scene.calm()
