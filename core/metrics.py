"""Counters of this process for Prometheus. What the database knows is read at scrape time and is not counted here.

Labels come from fixed sets (route templates, outcome codes), never from a message, an address or a path.
"""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for each, of no use here

#: All that this process counts; one registry a process.
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

HTTP_REQUESTS = Counter(
    "casemill_http_requests", "Requests answered, by route template.", ("method", "route", "status"), registry=REGISTRY
)
HTTP_SECONDS = Histogram(
    "casemill_http_request_seconds", "From the request's head to the end of the answer.", ("route",), buckets=_SECONDS,
    registry=REGISTRY,
)  # fmt: skip
WEBHOOK_POSTS = Counter("casemill_webhook_posts", "Formstack posts by outcome code.", ("form", "outcome"), registry=REGISTRY)
ITEMS_SETTLED = Counter(
    "casemill_items_settled", "Inbound items settled by this process.", ("kind", "disposition"), registry=REGISTRY
)
PARSE_SECONDS = Histogram(
    "casemill_parse_seconds", "Parsing one task in a child process.", ("kind",), buckets=_SECONDS, registry=REGISTRY
)
FACTS_RELAYED = Counter("casemill_facts_relayed", "Facts handed to their readers by this process.", registry=REGISTRY)
DELIVERIES = Counter(
    "casemill_delivery_attempts", "Attempts to send a notice by this process.", ("mailing", "outcome"), registry=REGISTRY
)
MAILS_FETCHED = Counter("casemill_mails_fetched", "Mails taken from a mailbox.", ("mailbox",), registry=REGISTRY)
ERRORS = Counter("casemill_errors", "Errors that were caught and gone on from.", ("place",), registry=REGISTRY)
