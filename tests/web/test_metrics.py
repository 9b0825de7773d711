"""Every counter of this process moves on the path that operators run, and ``/metrics`` shows it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from bootstrap import Services, build_services
from core import metrics, migrations
from core.database.types import Base
from core.settings import Settings
from tests.ingest.sources.support import last_uid, mailbox, message, watching
from tests.servers.dovecot import DovecotServer
from tests.waiting import wait_until
from tests.web.conftest import FORM
from tests.web.hooks.test_formstack import PATH, submission
from tests.web.hooks.vectors import JSON
from web.app import create_app
from web.server import WebServer


class MeteredServer:
    """The services of one process behind its web server; ``growth`` is measured from the start of the test."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.server = WebServer(create_app(services.settings, services.database), "127.0.0.1:0")
        self.server.start()
        self.client = httpx.Client(base_url=f"http://{self.server.address}", timeout=20)
        self._before = self._read_samples()

    def close(self) -> None:
        self.client.close()
        self.server.stop()

    def growth(self, name: str, **labels: str) -> float:
        key = (name, tuple(sorted(labels.items())))
        return self._read_samples().get(key, 0.0) - self._before.get(key, 0.0)

    def post_form(self, number: int) -> None:
        body = submission(number, details="Claim 88 was denied", handshake=None)
        assert self.client.post(PATH, content=body, headers={"content-type": JSON}).status_code == 200

    def _read_samples(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        families = self.read_families()
        return {(one.name, tuple(sorted(one.labels.items()))): one.value for family in families for one in family.samples}

    def read_families(self) -> list[Metric]:
        return list(text_string_to_metric_families(self.client.get("/metrics").text))


@pytest.fixture
def metered(tmp_path: Path) -> Iterator[MeteredServer]:
    """One process as ``casemill run`` builds it, with a form and a Maildir as the outgoing mail."""
    values = {
        "data_dir": tmp_path,
        "limits": {"parser_processes": 1},
        "forms": {FORM: {"unsigned": True}},
    }
    services = build_services(Settings.model_validate(values))
    migrations.upgrade(services.database)
    server = MeteredServer(services)
    yield server
    server.close()
    services.close()


def test_requests_are_counted_and_timed_by_route(metered: MeteredServer) -> None:
    metered.client.get("/healthz")
    assert metered.growth("casemill_http_requests_total", method="GET", route="/healthz", status="200") == 1
    assert metered.growth("casemill_http_request_seconds_count", route="/healthz") == 1


def test_webhook_posts_are_counted_by_outcome(metered: MeteredServer) -> None:
    metered.post_form(1)
    metered.client.post(PATH, content=b"{", headers={"content-type": JSON})
    assert metered.growth("casemill_webhook_posts_total", form=FORM, outcome="accepted") == 1
    assert metered.growth("casemill_webhook_posts_total", form=FORM, outcome="bad_json") == 1


def test_parse_time_is_observed_for_each_item(metered: MeteredServer) -> None:
    for number in range(3):
        metered.post_form(number + 1)
    metered.services.ingest()
    assert metered.growth("casemill_parse_seconds_count", kind="form") == 3
    assert metered.growth("casemill_parse_seconds_sum", kind="form") > 0


def test_relayed_facts_are_counted(metered: MeteredServer) -> None:
    metered.post_form(1)
    metered.services.ingest()
    assert metered.growth("casemill_facts_relayed_total") == 0
    relayed = metered.services.relay()
    assert relayed > 0
    assert metered.growth("casemill_facts_relayed_total") == relayed


def test_delivery_attempts_are_counted_by_outcome(metered: MeteredServer) -> None:
    body = submission(1, handshake=None).replace(b'"172000001"', b'"Email": "dana@riverside.example", "172000001"')
    metered.client.post(PATH, content=body, headers={"content-type": JSON})
    metered.services.drain()
    assert metered.growth("casemill_delivery_attempts_total", mailing="ticket_created", outcome="sent") == 1


def test_fetched_mails_are_counted_by_mailbox(metered: MeteredServer, dovecot: DovecotServer) -> None:
    dovecot.add_user("desk")
    for number in range(3):
        dovecot.deliver("desk", message(number))
    database = metered.services.database
    with watching(database, mailbox(dovecot), name="support"):
        wait_until(lambda: last_uid(database, "support") == 3)
    assert metered.growth("casemill_mails_fetched_total", mailbox="support") == 3


def test_logged_errors_are_counted_by_logger(metered: MeteredServer) -> None:
    Base.metadata.drop_all(metered.services.database.engine)
    assert metered.client.get("/").status_code == 503
    assert metered.growth("casemill_errors_total", place="casemill.web") >= 1


def test_no_counter_is_declared_without_a_test_of_its_path(metered: MeteredServer) -> None:
    declared = {one._name for one in vars(metrics).values() if hasattr(one, "_name") and hasattr(one, "labels")}
    own = {family.name for family in metered.read_families()} & declared
    assert declared == own
    source = Path(__file__).read_text()
    assert [name for name in declared if f'"{name}_' not in source] == []
