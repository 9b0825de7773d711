"""A TCP proxy that causes network faults on request: it cuts after k bytes, hangs, and refuses connections."""

import contextlib
import socket
import threading
from dataclasses import dataclass, field
from typing import Literal, Self

from tests.servers.ports import free_port
from tests.waiting import scale_budget

Direction = Literal["to_client", "to_server"]


@dataclass
class _Cut:
    direction: Direction
    after: int
    times: int | None


@dataclass(eq=False)
class _Link:
    """A proxied connection: two sockets, and the bytes passed in each direction."""

    client: socket.socket
    server: socket.socket
    cut: _Cut | None
    passed: dict[Direction, int] = field(default_factory=lambda: {"to_client": 0, "to_server": 0})
    threads: list[threading.Thread] = field(default_factory=list)
    pumping: int = 2

    def bytes_allowed(self, direction: Direction, size: int) -> int:
        """Return how many of `size` bytes may still pass in this direction."""
        if self.cut is None or self.cut.direction != direction:
            return size
        return max(0, min(size, self.cut.after - self.passed[direction]))

    def is_used_up(self, direction: Direction) -> bool:
        return self.cut is not None and self.cut.direction == direction and self.passed[direction] >= self.cut.after

    def shut(self) -> None:
        """Shut both sockets down, so that both pumps read end of file."""
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.client.close()
        self.server.close()


class Proxy:
    """A context manager that forwards loopback `port` to `target_port`."""

    host = "localhost"

    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        self.target_port = target_port
        self.connections = 0
        self.passed: dict[Direction, int] = {"to_client": 0, "to_server": 0}
        self._cut: _Cut | None = None
        self._flowing = threading.Event()
        self._flowing.set()
        self._lock = threading.Lock()
        self._links: set[_Link] = set()
        self._listener: socket.socket | None = None
        self._accepting: threading.Thread | None = None

    def start(self) -> None:
        """Accept connections."""
        if self._listener is not None:
            return
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
        self._accepting = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
        self._accepting.start()

    def stop(self) -> None:
        """Refuse new connections and cut the open ones until `start` is called."""
        listener, self._listener = self._listener, None
        if listener is not None and self._accepting is not None:
            with contextlib.suppress(OSError):
                # Ends the blocking accept().
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            self._accepting.join(scale_budget(10))
        self.cut_now()

    def cut_after(self, count: int, direction: Direction = "to_client", times: int | None = 1) -> None:
        """Cut each of the next `times` new connections (None: all) after `count` bytes in that direction.

        Exactly `count` bytes arrive, then the connection is closed on both sides. 0 cuts at the first byte.
        """
        with self._lock:
            self._cut = _Cut(direction, count, times)

    @property
    def has_pending_cut(self) -> bool:
        """Return whether a requested cut still waits for a connection."""
        with self._lock:
            return self._cut is not None

    def cut_now(self) -> None:
        """Cut all open connections."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.shut()
        self._join(links)

    def hang(self) -> None:
        """Hold all bytes back until `resume` is called. Connections stay open and new ones are accepted."""
        self._flowing.clear()

    def resume(self) -> None:
        """Pass everything on, first the bytes held back; cut no new connection."""
        with self._lock:
            self._cut = None
        self._flowing.set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._flowing.set()
        self.stop()

    def _join(self, links: list[_Link]) -> None:
        if not self._flowing.is_set():
            # The pumps end after `resume`.
            return
        for link in links:
            for thread in link.threads:
                if thread is not threading.current_thread():
                    thread.join(scale_budget(10))

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self.target_port), timeout=scale_budget(10))
        except OSError:
            client.close()
            return
        server.settimeout(None)
        with self._lock:
            link = _Link(client, server, self._next_cut())
            self._links.add(link)
            self.connections += 1
        link.threads = [
            threading.Thread(target=self._pump, args=(link, client, server, "to_server"), daemon=True),
            threading.Thread(target=self._pump, args=(link, server, client, "to_client"), daemon=True),
        ]
        for thread in link.threads:
            thread.start()

    def _next_cut(self) -> _Cut | None:
        cut = self._cut
        if cut is not None and cut.times is not None:
            cut.times -= 1
            if cut.times == 0:
                self._cut = None
        return cut

    def _pump(self, link: _Link, source: socket.socket, target: socket.socket, direction: Direction) -> None:
        try:
            while data := source.recv(65536):
                self._flowing.wait()
                if not self._pass_on(link, target, direction, data):
                    break
        except OSError:
            # The other pump or a cut has closed a socket.
            pass
        link.shut()
        self._pump_ended(link)

    def _pass_on(self, link: _Link, target: socket.socket, direction: Direction, data: bytes) -> bool:
        """Send the bytes that may pass; return False when the connection is to be cut."""
        allowed = link.bytes_allowed(direction, len(data))
        target.sendall(data[:allowed])
        link.passed[direction] += allowed
        with self._lock:
            self.passed[direction] += allowed
        return not link.is_used_up(direction)

    def _pump_ended(self, link: _Link) -> None:
        """Close the sockets after both pumps have ended: an earlier close could free a descriptor in use."""
        with self._lock:
            link.pumping -= 1
            if link.pumping:
                return
            self._links.discard(link)
        link.close()
