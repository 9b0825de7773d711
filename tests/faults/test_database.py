"""PostgreSQL is shut down as by a crash and started again while units of work are under way."""

import random
import time

import pytest

from tests.faults.report import Row
from tests.faults.scene import Scene, Traffic
from tests.faults.trial import FULL

ROUNDS = 20 if FULL else 2


@pytest.mark.fault("PostgreSQL restarted with `immediate` in the middle of the work")
@pytest.mark.parametrize("scene_mode", ["scaled"], indirect=True, scope="package")
@pytest.mark.timeout(900)
def test_postgresql_crashes_in_the_middle_and_nothing_is_lost_or_doubled(scene: Scene, row: Row, seed: int) -> None:
    chance = random.Random(seed)
    row.runs = ROUNDS
    with Traffic(scene.trial):
        for _ in range(ROUNDS):
            time.sleep(chance.uniform(0.1, 1.5))
            scene.trial.send_mails(10)
            scene.postgres.restart("immediate")
    scene.calm(60, hasten=True)
