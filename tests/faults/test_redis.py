"""Redis loses everything, dies, hangs or is full: it carried only hints."""

import signal
import time
from collections.abc import Callable

import pytest
import redis

from tests.faults.report import Row
from tests.faults.scene import Scene, Traffic
from tests.faults.trial import FULL

ROUNDS = 3 if FULL else 1


def flushall(scene: Scene) -> None:
    with redis.Redis.from_url(scene.redis.url) as client:
        for _ in range(10):
            client.flushall()
            time.sleep(0.1)


def shutdown_nosave(scene: Scene) -> None:
    with redis.Redis.from_url(scene.redis.url) as client:
        client.shutdown(nosave=True)
    scene.redis.process.end(signal.SIGKILL)
    time.sleep(1)
    scene.redis.start()


def killed(scene: Scene) -> None:
    scene.redis.kill()
    time.sleep(0.5)
    scene.redis.start()


def debug_sleep(scene: Scene) -> None:
    seconds = 15 if FULL else 2
    with redis.Redis.from_url(scene.redis.url, socket_timeout=60) as client:
        client.execute_command("DEBUG", "SLEEP", seconds)


def hangs(scene: Scene) -> None:
    scene.redis.suspend()
    time.sleep(15 if FULL else 2)
    scene.redis.resume()


def full_memory(scene: Scene) -> None:
    with redis.Redis.from_url(scene.redis.url) as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1")
        time.sleep(15 if FULL else 2)
        client.config_set("maxmemory", "0")


@pytest.mark.fault("Redis")
@pytest.mark.parametrize("scene_mode", ["scaled"], indirect=True, scope="package")
@pytest.mark.parametrize("fault", [flushall, shutdown_nosave, killed, debug_sleep, hangs, full_memory])
@pytest.mark.timeout(600)
def test_redis_fails_and_all_is_drained_thirty_seconds_after(scene: Scene, fault: Callable[[Scene], None], row: Row) -> None:
    row.faults, row.runs = (f"Redis: {fault.__name__.replace('_', ' ')}",), ROUNDS
    for _ in range(ROUNDS):
        with Traffic(scene.trial):
            fault(scene)
        scene.calm(30 if FULL else 60)  # side by side with other tests the machine has no time of its own
