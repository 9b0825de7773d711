"""Redis loses its data, is killed, hangs or is full: it carries only drain requests and wake-ups."""

import signal
import time
from collections.abc import Callable

import pytest
import redis

from tests.faults.report import Row
from tests.faults.shared_trial import SharedTrial, Traffic
from tests.faults.trial import FULL

ROUNDS = 3 if FULL else 1


def flushall(shared_trial: SharedTrial) -> None:
    with redis.Redis.from_url(shared_trial.redis.url) as client:
        for _ in range(10):
            client.flushall()
            time.sleep(0.1)


def shutdown_nosave(shared_trial: SharedTrial) -> None:
    with redis.Redis.from_url(shared_trial.redis.url) as client:
        client.shutdown(nosave=True)
    shared_trial.redis.process.end(signal.SIGKILL)
    time.sleep(1)
    shared_trial.redis.start()


def killed(shared_trial: SharedTrial) -> None:
    shared_trial.redis.kill()
    time.sleep(0.5)
    shared_trial.redis.start()


def debug_sleep(shared_trial: SharedTrial) -> None:
    seconds = 15 if FULL else 2
    with redis.Redis.from_url(shared_trial.redis.url, socket_timeout=60) as client:
        client.execute_command("DEBUG", "SLEEP", seconds)


def hangs(shared_trial: SharedTrial) -> None:
    shared_trial.redis.suspend()
    time.sleep(15 if FULL else 2)
    shared_trial.redis.resume()


def full_memory(shared_trial: SharedTrial) -> None:
    with redis.Redis.from_url(shared_trial.redis.url) as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1")
        time.sleep(15 if FULL else 2)
        client.config_set("maxmemory", "0")


@pytest.mark.fault("Redis")
@pytest.mark.parametrize("shared_mode", ["scaled"], indirect=True, scope="package")
@pytest.mark.parametrize("fault", [flushall, shutdown_nosave, killed, debug_sleep, hangs, full_memory])
@pytest.mark.timeout(600)
def test_redis_fails_and_all_is_drained_thirty_seconds_after(
    shared_trial: SharedTrial, fault: Callable[[SharedTrial], None], row: Row
) -> None:
    row.faults, row.runs = (f"Redis: {fault.__name__.replace('_', ' ')}",), ROUNDS
    for _ in range(ROUNDS):
        with Traffic(shared_trial.trial):
            fault(shared_trial)
        shared_trial.settle_and_check(30 if FULL else 60)  # side by side with other tests the machine has no time of its own
