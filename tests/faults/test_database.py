"""PostgreSQL is shut down as by a crash, or its connections break, while units of work are being committed."""

import random
import time
from collections.abc import Callable

import pytest

from tests.faults.report import Row
from tests.faults.scene import Scene, Traffic
from tests.faults.trial import FULL

ROUNDS = 20 if FULL else 2
#: So long a commit waits before it reaches the disk: most of a unit's life.
COMMIT_MICROSECONDS = 60_000


def restarted(scene: Scene) -> None:
    scene.postgres.restart("immediate")


def disconnected(scene: Scene) -> None:
    """The server commits, and the one who asked for it never hears of it."""
    scene.postgres_proxy.cut_now()


@pytest.mark.fault("PostgreSQL")
@pytest.mark.parametrize("fault", [restarted, disconnected])
@pytest.mark.parametrize("scene_mode", ["scaled"], indirect=True, scope="package")
@pytest.mark.timeout(900)
def test_postgresql_is_lost_in_the_middle_of_commits_and_nothing_is_lost_or_doubled(
    scene: Scene, fault: Callable[[Scene], None], row: Row, seed: int
) -> None:
    chance = random.Random(f"{seed} {fault.__name__}")
    row.faults, row.runs = (f"PostgreSQL {fault.__name__} mid-commit",), ROUNDS
    scene.postgres.delay_commits(COMMIT_MICROSECONDS)
    with Traffic(scene.trial):
        for _ in range(ROUNDS):
            time.sleep(chance.uniform(0.1, 1.5))
            scene.trial.send_mails(10)
            fault(scene)
    scene.postgres.delay_commits(0)
    scene.calm(60, hasten=True)
