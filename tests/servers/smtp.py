"""An SMTP server that stores what it accepts and misbehaves on request (RFC 5321)."""

import asyncio
import contextlib
import ssl
import threading
from base64 import b64decode
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypeVar

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.servers.ports import free_port
from tests.servers.tls import Certificates
from tests.waiting import scale_budget

T = TypeVar("T")
Encryption = Literal["none", "starttls", "implicit"]
# Where the connection is dropped: at once, at a command, before the final dot, or after it with the message stored
# ("dot_stored") or lost ("dot_lost"). The client cannot distinguish the last two.
Drop = Literal["connect", "mail", "rcpt", "data", "dot_stored", "dot_lost"]

_MAXIMUM_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Behaviour:
    """How the server misbehaves: replies such as "451 4.3.0 Try later"; None is the usual reply."""

    mail: str | None = None
    rcpt: str | None = None
    rcpt_of: dict[str, str] = field(default_factory=dict)
    dot: str | None = None
    dot_delay: float = 0.0
    drop: Drop | None = None


@dataclass(frozen=True)
class Transaction:
    """A message whose final dot arrived: envelope, content (dots unstuffed), reply (None: connection dropped)."""

    mail_from: str
    recipients: tuple[str, ...]
    content: bytes
    reply: str | None
    stored: bool


class SmtpServer:
    """A server in a thread of its own. `set_behaviour` makes it misbehave, `reset` makes it behave normally again."""

    host = "localhost"
    username = "casemill"
    password = "correct horse"

    def __init__(
        self,
        certificates: Certificates | None = None,
        *,
        encryption: Encryption = "none",
        login_required: bool = False,
        accepts_token: Callable[[str], bool] | None = None,
    ) -> None:
        if certificates is None and encryption != "none":
            raise ValueError("an encrypting server needs certificates")
        if login_required and encryption == "none":
            raise ValueError("a server that wants a login encrypts")
        self.port = free_port()
        self.ca_file = certificates.ca_file if certificates else None
        self.connections = 0
        self.transactions: list[Transaction] = []
        self._encryption = encryption
        self._login_required = login_required
        self.accepts_token = accepts_token
        self._tls = _tls_context(certificates) if certificates else None
        self._behaviour, self._times = Behaviour(), 0
        self._sessions: set[_Session] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._listener: asyncio.Server | None = None

    @property
    def messages(self) -> list[Transaction]:
        """Return the stored messages in order of arrival: what a real server would have delivered."""
        return [transaction for transaction in self.transactions if transaction.stored]

    def set_behaviour(self, behaviour: Behaviour, times: int | None = None) -> None:
        """Misbehave at the next `times` occasions (None: until the next call), then behave normally."""
        self._behaviour, self._times = behaviour, -1 if times is None else times

    def reset(self) -> None:
        """Run, behave normally, and forget all messages."""
        self.start()
        self.set_behaviour(Behaviour())
        self.transactions.clear()
        self.connections = 0

    def start(self) -> None:
        """Listen on the same port."""
        if self._loop is not None:
            return
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="smtp-server", daemon=True)
        self._thread.start()
        self._run(self._listen())

    def stop(self) -> None:
        """Refuse new connections and cut the open ones."""
        if self._loop is None or self._thread is None:
            return
        self._run(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(scale_budget(10))
        self._loop.close()
        self._loop = self._thread = None

    def drop_connections(self) -> None:
        """Cut the open connections and keep listening, as a server that closes idle clients."""
        self._run(self._abort_all())

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def take_behaviour(self, select: Callable[[Behaviour], T]) -> T:
        """Return what `select` takes from the current behaviour; if that is not empty, one of its `times` is used up."""
        answer = select(self._behaviour)
        if answer and self._times > 0:
            self._times -= 1
            if self._times == 0:
                self._behaviour = Behaviour()
        return answer

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        if self._loop is None:
            raise RuntimeError("the SMTP server is not running")
        asyncio.run_coroutine_threadsafe(work, self._loop).result(scale_budget(15))

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        implicit = self._tls if self._encryption == "implicit" else None
        self._listener = await loop.create_server(self._new_session, "127.0.0.1", self.port, ssl=implicit)

    async def _shut(self) -> None:
        if self._listener is not None:
            self._listener.close()
        await self._abort_all()

    async def _abort_all(self) -> None:
        for session in list(self._sessions):
            session.abort()
        while self._sessions:
            await asyncio.sleep(0.005)

    def _new_session(self) -> "_Session":
        starttls = self._encryption == "starttls"
        login: dict[str, Any] = {"authenticator": self._check, "auth_required": True} if self._login_required else {}
        login["auth_exclude_mechanism"] = ["XOAUTH2"]
        if self.accepts_token is not None:  # tokens only
            login |= {"auth_required": True, "auth_exclude_mechanism": ["PLAIN", "LOGIN"]}
        return _Session(
            self,
            hostname="localhost",
            ident="casemill tests",
            data_size_limit=_MAXIMUM_BYTES,
            enable_SMTPUTF8=True,
            tls_context=self._tls if starttls else None,
            require_starttls=starttls,
            loop=asyncio.get_running_loop(),
            **login,
        )

    def _check(self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any) -> AuthResult:
        wanted = LoginPassword(self.username.encode(), self.password.encode())
        return AuthResult(success=data == wanted, handled=False)  # aiosmtpd answers 535

    def session_opened(self, session: "_Session") -> None:
        """Record the begin of a session."""
        self.connections += 1
        self._sessions.add(session)

    def session_closed(self, session: "_Session") -> None:
        """Record the end of a session."""
        self._sessions.discard(session)


class _Session(SMTP):
    """One connection. It is its own handler, so that every step can drop the connection."""

    def __init__(self, owner: SmtpServer, **options: Any) -> None:
        self._owner = owner
        super().__init__(self, **options)

    def connection_made(self, transport: Any) -> None:
        """Count the connection; drop it if the behaviour says so."""
        again = getattr(self, "transport", None) is not None  # the same session after STARTTLS
        super().connection_made(transport)
        if not again:
            # With implicit TLS aiosmtpd does not notice the encryption and would offer no AUTH.
            self._tls_protocol = transport.get_extra_info("ssl_object")
            self._owner.session_opened(self)
            self._drop_if_asked("connect")

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the connection."""
        self._owner.session_closed(self)
        super().connection_lost(error)

    def abort(self) -> None:
        """Cut the connection without a reply."""
        if isinstance(self.transport, asyncio.WriteTransport):
            with contextlib.suppress(AttributeError):  # CPython up to 3.11.2, on a TLS connection just ended
                self.transport.abort()

    async def handle_MAIL(  # noqa: N802
        self,
        _server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        options: list[str],
    ) -> str:
        """Reply to MAIL FROM."""
        if self._drop_if_asked("mail"):
            return "421 Bye"
        reply = self._owner.take_behaviour(lambda behaviour: behaviour.mail)
        if reply is None:
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return reply or "250 OK"

    async def handle_RCPT(  # noqa: N802
        self,
        _server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        options: list[str],
    ) -> str:
        """Reply to RCPT TO."""
        if self._drop_if_asked("rcpt"):
            return "421 Bye"
        reply = self._owner.take_behaviour(lambda behaviour: behaviour.rcpt_of.get(address) or behaviour.rcpt)
        if reply is None:
            envelope.rcpt_tos.append(address)
            envelope.rcpt_options.extend(options)
        return reply or "250 OK"

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802
        """Handle DATA; may drop the connection after the 354, while the client writes the message."""
        if self._owner.take_behaviour(lambda behaviour: behaviour.drop == "data"):
            await self.push("354 Go ahead")
            self.abort()
            return
        await super().smtp_DATA(arg)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Handle the final dot: store, refuse, delay or drop."""
        doing = self._owner.take_behaviour(_special_at_dot) or Behaviour()
        if doing.drop is not None:
            self._record(envelope, None, stored=doing.drop == "dot_stored")
            self.abort()
            return "421 Bye"
        reply = doing.dot or "250 OK"
        # Stored before the delay: the message of a client that stops waiting for the 250 has been delivered too.
        self._record(envelope, reply, stored=reply.startswith("2"))
        await asyncio.sleep(doing.dot_delay)
        return reply

    async def auth_XOAUTH2(self, server: SMTP, arguments: list[str]) -> AuthResult:  # noqa: N802
        """Check a token. A refusal sends a challenge that expects an empty answer, as Microsoft's server does."""
        words = dict(part.partition("=")[::2] for part in b64decode(arguments[1]).decode().strip("\1").split("\1"))
        token = words.get("auth", "").removeprefix("Bearer ")
        takes = self._owner.accepts_token
        if takes is not None and words.get("user") == self._owner.username and takes(token):
            return AuthResult(success=True, auth_data=words["user"])
        await server.challenge_auth('{"status":"400","schemes":"Bearer"}')
        return AuthResult(success=False, handled=False)

    def _record(self, envelope: Envelope, reply: str | None, *, stored: bool) -> None:
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        self._owner.transactions.append(Transaction(envelope.mail_from or "", tuple(envelope.rcpt_tos), content, reply, stored))

    def _drop_if_asked(self, where: Drop) -> bool:
        dropped = self._owner.take_behaviour(lambda behaviour: behaviour.drop == where)
        if dropped:
            self.abort()
        return dropped


def _special_at_dot(behaviour: Behaviour) -> Behaviour | None:
    special = behaviour.dot or behaviour.dot_delay or behaviour.drop in ("dot_stored", "dot_lost")
    return behaviour if special else None


def _tls_context(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.cert_file, certificates.key_file)
    return context
