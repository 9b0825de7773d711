"""PostgreSQL is shut down as by a crash, or its connections are cut, during commits."""

import random
import time
from collections.abc import Callable

import pytest

from tests.faults.report import Row
from tests.faults.shared_trial import SharedTrial, Traffic
from tests.faults.trial import FULL

ROUNDS = 20 if FULL else 2
#: Delay of a commit before it reaches the disk: most of the time of a transaction.
COMMIT_MICROSECONDS = 60_000


def restarted(shared_trial: SharedTrial) -> None:
    shared_trial.postgres.restart("immediate")


def disconnected(shared_trial: SharedTrial) -> None:
    """Cut the connections: the server commits, and the client gets no answer."""
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
