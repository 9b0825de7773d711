"""A shared trial: a casemill that keeps running, with servers of its own, while the tests cause one fault after the other."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path

from tests.faults.trial import Servers, Trial
from tests.servers.dovecot import DovecotServer
from tests.servers.postgres import PostgresServer
from tests.servers.proxy import Proxy
from tests.servers.redis_server import RedisServer
from tests.servers.smtp import SmtpServer
from tests.servers.tls import Certificates
from tests.waiting import scale_budget, wait_until


class SharedTrial:
    """A running trial with proxies between it and its servers."""

    def __init__(self, folder: Path, certificates: Certificates, postgres: PostgresServer | None) -> None:
        self._stack = ExitStack()
        self.dovecot = DovecotServer(folder / "dovecot", certificates)
        self._stack.callback(self.dovecot.stop)
        self.dovecot.start()
        self.smtp = self._stack.enter_context(SmtpServer())
        self.proxy = self._stack.enter_context(Proxy(self.dovecot.tls_port))
        self.smtp_proxy = self._stack.enter_context(Proxy(self.smtp.port))
        servers = Servers(self.dovecot, self.smtp)
        ports = {"imap_port": self.proxy.port, "smtp_port": self.smtp_proxy.port}
        if postgres is not None:
            self.postgres_proxy = self._stack.enter_context(Proxy(postgres.port))
            ports["postgres_port"] = self.postgres_proxy.port
            servers.postgres, servers.redis = postgres, RedisServer(folder / "redis")
            self._stack.callback(servers.redis.kill)
            servers.redis.start()
        self.trial = Trial(folder / "casemill", servers, watch_second_mailbox=True, **ports)
        self._stack.callback(self.trial.close)
        self.trial.start()

    @property
    def redis(self) -> RedisServer:
        assert self.trial.servers.redis
        return self.trial.servers.redis

    @property
    def postgres(self) -> PostgresServer:
        assert self.trial.servers.postgres
        return self.trial.servers.postgres

    def settle_and_check(self, seconds: float = 60, *, make_retries_due: bool = False) -> None:
        """Wait until everything is settled, then check with the oracle."""
        self.trial.settle(seconds, make_retries_due=make_retries_due)
        self.trial.check()

    def close(self) -> None:
        """Stop casemill and its servers."""
        self._stack.close()


class Traffic(threading.Thread):
    """Sends a few mails and forms each second until the block ends. A form that is refused is posted again."""

    def __init__(self, trial: Trial) -> None:
        super().__init__(daemon=True)
        self._trial = trial
        self._over = threading.Event()
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._over.wait(0.1):
                self._trial.send_mail()
                self._trial.send_form(120)
        except BaseException as error:
            self._error = error

    def __enter__(self) -> None:
        injected = len(self._trial.nonces)
        self.start()
        wait_until(lambda: self._error is not None or len(self._trial.nonces) >= injected + 2)

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join(scale_budget(150))
        assert self._error is None, self._error
