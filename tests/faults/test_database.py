"""PostgreSQL is shut down as by a crash, or its connections break, while units of work are being committed."""

import random
import time
from collections.abc import Callable

import pytest

from tests.faults.report import Row
from tests.faults.shared_trial import SharedTrial, Traffic
from tests.faults.trial import FULL

ROUNDS = 20 if FULL else 2
#: So long a commit waits before it reaches the disk: most of a unit's life.
COMMIT_MICROSECONDS = 60_000


def restarted(shared_trial: SharedTrial) -> None:
    shared_trial.postgres.restart("immediate")


def disconnected(shared_trial: SharedTrial) -> None:
    """The server commits, and the one who asked for it never hears of it."""
    shared_trial.postgres_proxy.cut_now()


@pytest.mark.fault("PostgreSQL")
@pytest.mark.parametrize("fault", [restarted, disconnected])
@pytest.mark.parametrize("shared_mode", ["scaled"], indirect=True, scope="package")
@pytest.mark.timeout(900)
def test_postgresql_is_lost_in_the_middle_of_commits_and_nothing_is_lost_or_doubled(
    shared_trial: SharedTrial, fault: Callable[[SharedTrial], None], row: Row, seed: int
) -> None:
    chance = random.Random(f"{seed} {fault.__name__}")
    row.faults, row.runs = (f"PostgreSQL {fault.__name__} mid-commit",), ROUNDS
    shared_trial.postgres.delay_commits(COMMIT_MICROSECONDS)
    with Traffic(shared_trial.trial):
        for _ in range(ROUNDS):
            time.sleep(chance.uniform(0.1, 1.5))
            shared_trial.trial.send_mails(10)
            fault(shared_trial)
    shared_trial.postgres.delay_commits(0)
    shared_trial.settle_and_check(60, make_retries_due=True)
