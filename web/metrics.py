"""``/metrics`` in the Prometheus text format: the counters of this process, and figures of the database."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from core import clock
from core.database.session import Database
from core.findings import Finding
from core.metrics import REGISTRY, count_logged_errors
from core.settings import Settings
from surveys.queries import SurveyTotals
from tickets.stages import STAGE_NAMES
from web import access
from web.status import queries
from web.status.queries import DatabaseTotals, InvariantChecker
from web.ttl_cache import TtlCache

log = logging.getLogger("casemill.web")
_CACHE_SECONDS = 5.0


class MetricsPage:
    """``GET /metrics``. The figures of the database are read at most every five seconds, however often it is scraped."""

    def __init__(self, settings: Settings, database: Database, check_invariants: InvariantChecker | None = None) -> None:
        self._settings = settings
        self._database = database
        self._check_invariants = check_invariants
        count_logged_errors()
        self._totals = TtlCache(self._read, seconds=_CACHE_SECONDS)

    async def show(self, request: Request) -> Response:
        """Answer 200, or 404 to clients that may not see the status. Without a database, the counters of the process remain."""
        if not access.may_see_status(request, self._settings):
            raise HTTPException(404)
        totals: DatabaseTotals | None = None
        findings: Sequence[Finding] = ()
        try:
            totals, findings = await self._totals.get()
        except (SQLAlchemyError, TimeoutError) as error:
            log.error("metrics figures unreadable, database unavailable", exc_info=error)
        return Response(generate_latest(REGISTRY) + render_totals(totals, findings), media_type=CONTENT_TYPE_LATEST)

    def _read(self) -> tuple[DatabaseTotals, Sequence[Finding]]:
        with self._database.read() as session:
            return queries.read_totals(session, clock.now()), self._check_invariants(session) if self._check_invariants else ()


def render_totals(totals: DatabaseTotals | None, findings: Sequence[Finding] = ()) -> bytes:
    """Return the figures of the database as text; ``None`` stands for a database that does not answer."""
    registry = CollectorRegistry()
    registry.register(_DatabaseCollector(totals, findings))
    return generate_latest(registry)


class _DatabaseCollector(Collector):
    def __init__(self, totals: DatabaseTotals | None, findings: Sequence[Finding]) -> None:
        self._totals = totals
        self._findings = findings

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("casemill_database_up", "1 when the database answers.", value=float(self._totals is not None))
        if self._totals is not None:
            yield from _count_families(self._totals)
            yield from _age_families(self._totals)
            yield from _survey_families(self._totals.surveys)
        if self._findings:
            yield from _invariant_families(self._findings)

    def describe(self) -> Iterator[Metric]:
        return iter(())


def _count_families(totals: DatabaseTotals) -> Iterator[Metric]:
    yield _by_label("casemill_items", "Inbound items by state.", "state", totals.states)
    yield _by_label("casemill_items_by_disposition", "Inbound items by disposition.", "disposition", totals.dispositions)
    yield GaugeMetricFamily(
        "casemill_quarantine_items", "Inbound items in quarantine.", value=totals.dispositions.get("quarantined", 0)
    )
    tickets = GaugeMetricFamily("casemill_tickets", "Tickets by stage and source.", labels=("stage", "source"))
    for (stage, source), count in sorted(totals.tickets.items()):
        tickets.add_metric((STAGE_NAMES.get(stage, str(stage)), source), count)
    yield tickets
    yield _by_label("casemill_deliveries", "Notices by state.", "state", totals.deliveries)


def _survey_families(totals: SurveyTotals) -> Iterator[Metric]:
    yield _by_label("casemill_surveys", "Surveys by state.", "state", totals.states)
    scores = {str(score): count for score, count in totals.scores.items()}
    yield _by_label("casemill_survey_answers", "Answered surveys by score.", "score", scores)
    yield _by_label("casemill_survey_skips", "Completed tickets without a survey, by reason.", "reason", totals.skips)


def _age_families(totals: DatabaseTotals) -> Iterator[Metric]:
    now = clock.now()
    waiting = {queue: (now - since).total_seconds() if since else 0.0 for queue, since in totals.due_since.items()}
    yield _by_label("casemill_oldest_due_seconds", "How long the oldest due row has been due, by queue.", "queue", waiting)
    checked = {health.name: (now - health.checked_at).total_seconds() for health in totals.mailboxes if health.checked_at}
    yield _by_label("casemill_mailbox_last_check_seconds", "Time since the mailbox was last read.", "mailbox", checked)
    errors = {health.name: float(health.errors) for health in totals.mailboxes}
    yield _by_label("casemill_mailbox_errors", "Errors of the mailbox since its last success.", "mailbox", errors)


def _invariant_families(findings: Sequence[Finding]) -> Iterator[Metric]:
    now = clock.now()
    counts = {finding.check: finding.count for finding in findings}
    yield _by_label("casemill_invariant", "Rows that violate an invariant; 0 when it holds.", "name", counts)
    ages = {finding.check: (now - finding.oldest).total_seconds() for finding in findings if not finding.is_ok and finding.oldest}
    yield _by_label("casemill_invariant_oldest_seconds", "Age of the oldest row that violates the invariant.", "name", ages)


def _by_label(name: str, text: str, label: str, values: dict[str, int] | dict[str, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=(label,))
    for label_value, value in sorted(values.items()):
        family.add_metric((label_value,), value)
    return family
