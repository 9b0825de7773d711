"""``/metrics`` in the Prometheus text format: what this process counted, and what the database holds."""

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
from core.metrics import REGISTRY
from core.settings import Settings
from surveys.queries import SurveyTotals
from tickets.stages import STAGE_NAMES
from web import access
from web.status import queries
from web.status.queries import Judge, Totals
from web.ttl_cache import TtlCache

log = logging.getLogger("casemill.web")
_KEPT_SECONDS = 5.0


class Metrics:
    """The metrics page. The database's figures are read at most every five seconds, however many scrape."""

    def __init__(self, settings: Settings, database: Database, judge: Judge | None = None) -> None:
        self._settings = settings
        self._database = database
        self._judge = judge
        self._totals = TtlCache(self._read, seconds=_KEPT_SECONDS)

    async def answer(self, request: Request) -> Response:
        """The figures; 404 for those who may not see them. With the database away the process's own remain."""
        if not access.may_see_status(request, self._settings):
            raise HTTPException(404)
        totals: Totals | None = None
        judgements: Sequence[Finding] = ()
        try:
            totals, judgements = await self._totals.get()
        except (SQLAlchemyError, TimeoutError) as error:
            log.error("the totals cannot be read", exc_info=error)
        return Response(generate_latest(REGISTRY) + render(totals, judgements), media_type=CONTENT_TYPE_LATEST)

    def _read(self) -> tuple[Totals, Sequence[Finding]]:
        with self._database.read() as session:
            return queries.read_totals(session, clock.now()), self._judge(session) if self._judge else ()


def render(totals: Totals | None, judgements: Sequence[Finding] = ()) -> bytes:
    """The database's figures as text; None says only that it is away."""
    registry = CollectorRegistry()
    registry.register(_Figures(totals, judgements))
    return generate_latest(registry)


class _Figures(Collector):
    def __init__(self, totals: Totals | None, judgements: Sequence[Finding]) -> None:
        self._totals = totals
        self._judgements = judgements

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("casemill_database_up", "1 when the database answers.", value=float(self._totals is not None))
        if self._totals is not None:
            yield from _counts(self._totals)
            yield from _ages(self._totals)
            yield from _surveys(self._totals.surveys)
        if self._judgements:
            yield from _invariants(self._judgements)

    def describe(self) -> Iterator[Metric]:
        return iter(())


def _counts(totals: Totals) -> Iterator[Metric]:
    yield _by_word("casemill_items", "Inbound items by state.", "state", totals.states)
    yield _by_word("casemill_items_by_disposition", "Inbound items by what became of them.", "disposition", totals.dispositions)
    yield GaugeMetricFamily(
        "casemill_quarantine_items", "Items set aside for people.", value=totals.dispositions.get("quarantined", 0)
    )
    tickets = GaugeMetricFamily("casemill_tickets", "Tickets by stage and source.", labels=("stage", "source"))
    for (stage, source), count in sorted(totals.tickets.items()):
        tickets.add_metric((STAGE_NAMES.get(stage, str(stage)), source), count)
    yield tickets
    yield _by_word("casemill_deliveries", "Notices by state.", "state", totals.deliveries)


def _surveys(totals: SurveyTotals) -> Iterator[Metric]:
    yield _by_word("casemill_surveys", "Surveys by state; those that were sent are the invitations.", "state", totals.states)
    scores = {str(score): count for score, count in totals.scores.items()}
    yield _by_word("casemill_survey_answers", "Answered surveys by score.", "score", scores)
    yield _by_word("casemill_survey_skips", "Completions without a survey, by reason.", "reason", totals.skips)


def _ages(totals: Totals) -> Iterator[Metric]:
    now = clock.now()
    waiting = {queue: (now - since).total_seconds() if since else 0.0 for queue, since in totals.due_since.items()}
    yield _by_word("casemill_oldest_due_seconds", "How long the longest overdue work has been due.", "queue", waiting)
    checked = {box.name: (now - box.checked_at).total_seconds() for box in totals.mailboxes if box.checked_at}
    yield _by_word("casemill_mailbox_last_check_seconds", "Since the mailbox was last read.", "mailbox", checked)
    errors = {box.name: float(box.errors) for box in totals.mailboxes}
    yield _by_word("casemill_mailbox_errors", "Errors in a row of the mailbox.", "mailbox", errors)


def _invariants(judgements: Sequence[Finding]) -> Iterator[Metric]:
    now = clock.now()
    counts = {one.code: one.count for one in judgements}
    yield _by_word("casemill_invariant", "Rows against an invariant of the house; 0 when it holds.", "name", counts)
    ages = {one.code: (now - one.oldest).total_seconds() for one in judgements if one.is_violated and one.oldest}
    yield _by_word("casemill_invariant_oldest_seconds", "Since when the oldest row is against it.", "name", ages)


def _by_word(name: str, text: str, label: str, values: dict[str, int] | dict[str, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=(label,))
    for word, value in sorted(values.items()):
        family.add_metric((word,), value)
    return family
