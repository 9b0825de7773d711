"""SIGKILL at random times for each kind of process, while mail and forms arrive."""

import random
import signal
import threading
import time
from collections.abc import Callable

import pytest

from tests.faults.report import Row
from tests.faults.shared_trial import Traffic
from tests.faults.trial import FULL, MODES, Trial, modes

KILLS = 50 if FULL else 3


@pytest.mark.fault("seeded SIGKILLs, as many for each kind of process")
@pytest.mark.parametrize("mode", modes("scaled"))  # those of the embedded process are in test_kills.py
@pytest.mark.timeout(1800)
def test_random_kills_of_every_kind_of_process_lose_and_double_nothing(trial: Trial, row: Row, seed: int) -> None:
    row.runs = KILLS * len(MODES[trial.mode])
    trial.start()
    errors: list[BaseException] = []

    def kill(name: str) -> None:
        chance = random.Random(f"{seed} {name}")
        try:
            for _ in range(KILLS):
                time.sleep(chance.uniform(0.5, 3.0))
                trial.kill(name)
                trial.start(name, ready=False)
                # Without this wait, a busy machine would never get a process started before the next kill.
                trial.wait_for_signal_handler(name)
        except BaseException as error:
            errors.append(error)

    with Traffic(trial):
        threads = [threading.Thread(target=kill, args=(name,)) for name in trial.names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        trial.wait(lambda: trial.system.get("/healthz") == 200, "the web server to answer", 60)
    assert not errors, errors
    trial.settle(120, make_retries_due=True)
    assert set(trial.stop().values()) == {0}
    trial.check()


def send_batch(trial: Trial, chance: random.Random) -> None:
    trial.send_mails(20)
    time.sleep(chance.uniform(0.0, 1.5))


@pytest.mark.fault("two watchers on one mailbox and two workers; each is frozen in the middle of its work and wakes later")
@pytest.mark.parametrize("mode", ["scaled"])
@pytest.mark.timeout(900)
def test_a_frozen_holder_that_wakes_does_no_harm(trial: Trial, row: Row, seed: int) -> None:
    chance = random.Random(seed)
    rounds = 5 if FULL else 1
    row.runs = 2 * rounds
    trial.start()
    trial.start("watch2", "workers2", ready=False)
    for _ in range(rounds):
        for kind in ("watch", "workers"):
            sleeper = chance.choice([kind, f"{kind}2"])
            send_batch(trial, chance)
            freeze(trial, sleeper, lambda: trial.send_mails(3))
    trial.settle(90, make_retries_due=True)
    assert set(trial.stop().values()) == {0}
    trial.check()


@pytest.mark.fault("two watchers on one mailbox beside the embedded process, which is frozen in the middle of its work and wakes")
@pytest.mark.parametrize("mode", ["embedded"])
@pytest.mark.timeout(900)
def test_an_embedded_process_that_wakes_beside_a_second_watcher_does_no_harm(trial: Trial, row: Row, seed: int) -> None:
    chance = random.Random(seed)
    row.runs = 6 if FULL else 2
    trial.system.run("migrate")
    trial.start("watch2", ready=False)
    trial.wait(lambda: trial.system.count("lease WHERE name LIKE 'mailbox:%' AND token IS NOT NULL"), "the second watcher", 60)
    trial.start("run")
    for _ in range(row.runs):
        send_batch(trial, chance)
        trial.signal("run", signal.SIGSTOP)
        trial.send_mails(3)
        time.sleep(25 if FULL else 1)
        trial.signal("run", signal.SIGCONT)
    trial.settle(90, make_retries_due=True)
    assert set(trial.stop().values()) == {0}
    trial.check()


def freeze(trial: Trial, sleeper: str, meanwhile: Callable[[], object]) -> None:
    """Suspend a process until its claims have expired and another process has done the work."""
    trial.signal(sleeper, signal.SIGSTOP)
    if FULL:
        time.sleep(25)
    trial.expire_claims(sleeper)
    meanwhile()
    trial.wait(lambda: trial.system.count("ticket") >= len(trial.nonces), "the other one to go on", 60)
    trial.signal(sleeper, signal.SIGCONT)
