"""An SMTP server that answers line by line as a test scripts it; it knows PIPELINING and records all bytes it receives."""

import contextlib
import socket
import threading
from collections import defaultdict
from typing import Self

from tests.waiting import scale_budget

_USUAL = {
    "MAIL": "250 2.1.0 fine",
    "RCPT": "250 2.1.5 fine",
    "DATA": "354 go ahead",
    "RSET": "250 2.0.0 fine",
    "AUTH": "235 2.7.0 welcome",
    ".": "250 2.0.0 queued",
    "QUIT": "221 bye",
    "EHLO": "250 localhost",
}


class ScriptedServer:
    """`script` queues replies for a verb ("." is the final dot); None closes the connection. Without one: the usual reply."""

    def __init__(self, *features: str, greeting: str = "220 localhost ESMTP") -> None:
        self.features = features
        self.greeting = greeting
        self.commands: list[str] = []
        self.chunks: list[bytes] = []
        self.contents: list[bytes] = []
        self.connections = 0
        self._scripted: dict[str, list[str | None]] = defaultdict(list)
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"smtp://127.0.0.1:{self.port}"

    def script(self, verb: str, *replies: str | None) -> None:
        """Queue replies for the next uses of a verb."""
        self._scripted[verb] += replies

    def verbs(self) -> list[str]:
        """Return the verbs received, in order."""
        return [command.split(" ")[0].upper() for command in self.commands]

    def send_line(self, line: str) -> None:
        """Send a line on every open connection without a command."""
        for connection in list(self._open):
            connection.sendall(line.encode() + b"\r\n")

    def hang_up(self) -> None:
        """Close every open connection."""
        for connection in list(self._open):
            connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # closing alone would not wake who waits for the next line
        for thread in self._threads:
            thread.join(scale_budget(5))

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            self._open.append(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        try:
            _Session(self, connection).run()
        except (OSError, EOFError):
            pass
        finally:
            if connection in self._open:
                self._open.remove(connection)
            connection.close()

    def reply(self, verb: str) -> str | None:
        """Return the scripted or usual reply to a verb."""
        if self._scripted[verb]:
            return self._scripted[verb].pop(0)
        if verb == "EHLO" and self.features:
            return "\r\n".join(["250-localhost", *(f"250-{name}" for name in self.features[:-1]), f"250 {self.features[-1]}"])
        return _USUAL.get(verb, "500 what?")


class _Session:
    """One connection."""

    def __init__(self, server: ScriptedServer, connection: socket.socket) -> None:
        self._server = server
        self._connection = connection
        self._buffer = b""

    def run(self) -> None:
        """Serve commands until either side closes the connection."""
        self._send_reply(self._server.greeting)
        while True:
            line = self._until(b"\r\n").decode()
            self._server.commands.append(line)
            verb = line.split(" ")[0].upper()
            reply = self._server.reply(verb)
            self._send_reply(reply)
            if verb == "QUIT":
                return
            if verb == "DATA" and reply is not None and reply.startswith("354"):
                self._take_content()

    def _take_content(self) -> None:
        content = b"\r\n" + self._until_dot()
        self._server.contents.append(content.replace(b"\r\n.", b"\r\n")[2:])
        self._send_reply(self._server.reply("."))

    def _until_dot(self) -> bytes:
        if self._buffer.startswith(b".\r\n"):
            self._buffer = self._buffer[3:]
            return b""
        content = self._until(b"\r\n.\r\n")
        return content + b"\r\n"

    def _until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            chunk = self._connection.recv(65536)
            if not chunk:
                raise EOFError
            self._server.chunks.append(chunk)
            self._buffer += chunk
        taken, _, self._buffer = self._buffer.partition(end)
        return taken

    def _send_reply(self, reply: str | None) -> None:
        if reply is None:
            self._connection.shutdown(socket.SHUT_RDWR)
            raise EOFError
        self._connection.sendall(reply.encode() + b"\r\n")
