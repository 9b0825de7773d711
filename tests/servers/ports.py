"""Loopback ports for servers that are stopped and restarted on the same port."""

import random
import socket

from tests.waiting import poll_until, scale_budget

# Below Linux's range for outgoing connections (from 32768): a client that retries a closed port inside that range may get the
# same port for its own end and connect to itself.
_PORTS = range(12_000, 32_000)
_used_ports: set[int] = set()


def free_port() -> int:
    """Return a free loopback TCP port, a different one at each call of this process."""
    for _ in range(200):
        port = random.choice(_PORTS)
        if port not in _used_ports and _can_bind(port):
            _used_ports.add(port)
            return port
    raise RuntimeError("no free loopback port found in 200 tries")


def is_listening(port: int) -> bool:
    """Return whether a process accepts connections on this loopback port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(scale_budget(1))
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until_closed(port: int, seconds: float = 10) -> bool:
    """Wait until no process accepts connections on the port; return False if one still does after the budget."""
    return poll_until(lambda: not is_listening(port), seconds)


def _can_bind(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
