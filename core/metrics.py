"""Counters of this process for Prometheus, shown by ``/metrics`` of the same process.

What the database knows, such as items by disposition, is read from it when ``/metrics`` is scraped and is not counted here. In
the scaled-out deployment only ``casemill web`` serves ``/metrics``, so the counters of workers and watchers show in
``casemill run`` only. Labels come from fixed sets (route templates, outcome codes, names from the configuration), never from a
message, an address or a path.
"""

from __future__ import annotations

import logging

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

# The creation times would double the number of series, and no query uses them.
disable_created_metrics()  # type: ignore[no-untyped-call]

#: The one registry of this process.
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

_DURATION_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

HTTP_REQUESTS = Counter(
    "casemill_http_requests", "HTTP requests by method, route template and status.", ("method", "route", "status"),
    registry=REGISTRY,
)  # fmt: skip
HTTP_SECONDS = Histogram(
    "casemill_http_request_seconds", "Time from the head of a request to the end of its response.", ("route",),
    buckets=_DURATION_BUCKETS, registry=REGISTRY,
)  # fmt: skip
WEBHOOK_POSTS = Counter("casemill_webhook_posts", "Formstack posts by form and outcome.", ("form", "outcome"), registry=REGISTRY)
PARSE_SECONDS = Histogram(
    "casemill_parse_seconds", "Time a parser process took for one item; the items of one call share its time equally.", ("kind",),
    buckets=_DURATION_BUCKETS, registry=REGISTRY,
)  # fmt: skip
FACTS_RELAYED = Counter("casemill_facts_relayed", "Outbox facts whose handlers have succeeded.", registry=REGISTRY)
DELIVERIES = Counter(
    "casemill_delivery_attempts", "Attempts to send a notice, by mailing and outcome.", ("mailing", "outcome"), registry=REGISTRY
)
MAILS_FETCHED = Counter(
    "casemill_mails_fetched", "Messages taken from a mailbox and committed to the ledger.", ("mailbox",), registry=REGISTRY
)
ERRORS = Counter("casemill_errors", "Errors that were logged, by logger.", ("place",), registry=REGISTRY)


class _ErrorCounter(logging.Handler):
    """Counts the log records of level ERROR and above."""

    def emit(self, record: logging.LogRecord) -> None:
        ERRORS.labels(record.name).inc()


_error_counter = _ErrorCounter(logging.ERROR)


def count_logged_errors() -> None:
    """Count every error that this program logs from now on; calling it again changes nothing."""
    logging.getLogger("casemill").addHandler(_error_counter)
