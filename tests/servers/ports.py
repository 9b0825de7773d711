"""Loopback ports for servers that are stopped and started again on the same port."""

import random
import socket
import time

# Below Linux's range for outgoing connections (32768 up): a client that keeps trying a dead port inside
# that range may be given the very same port as its own end and connect to itself.
_PORTS = range(12_000, 32_000)
_used_ports: set[int] = set()


def free_port() -> int:
    """A loopback TCP port nobody listens on; never the same one twice in a process."""
    for _ in range(200):
        port = random.choice(_PORTS)
        if port not in _used_ports and _can_bind(port):
            _used_ports.add(port)
            return port
    raise RuntimeError("no free loopback port found in 200 tries")


def is_listening(port: int) -> bool:
    """True when something accepts connections on this loopback port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until_closed(port: int, seconds: float = 10) -> bool:
    """Wait until nothing accepts on the port; False when something still does after `seconds`."""
    deadline = time.monotonic() + seconds
    while is_listening(port):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _can_bind(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
