"""Checks of `casemill doctor` for accounts at other companies: Formstack's API, and client secrets that expire."""

from __future__ import annotations

from collections.abc import Iterator
from zoneinfo import ZoneInfo

from core import clock
from core.findings import Finding, ok, problem, warning
from core.settings import Settings


def check_backfill(name: str, settings: Settings) -> Iterator[Finding]:
    """Check that Formstack's list of the form's submissions can be read. Accepts nothing."""
    from ingest.sources.formstack import HINTS, ListError, SubmissionList

    check, backfill = f"form {name}", settings.forms[name].backfill
    if backfill is None:
        return
    try:
        SubmissionList(name, backfill, wait=lambda _: None).fetch_page(1, clock.now(), size=1)
    except ListError as error:
        hint = HINTS.get(error.code, "check backfill.base_url and that this machine can reach it; casemill tries again")
        make_finding = problem if error.is_permanent else warning
        yield make_finding(check, error.text, hint.format(form=name))
        return
    yield ok(check, "its list of submissions can be read")


def check_client_secrets(settings: Settings) -> Iterator[Finding]:
    """Check that no client secret expires soon, and that the day of each is known."""
    from ops.invariants import external_services

    expiries = external_services.list_secret_expiries(settings)
    today = clock.now().astimezone(ZoneInfo(settings.calendar.zone)).date()
    finding = external_services.check_client_secrets(expiries, today)
    if not finding.is_ok:
        make_finding = problem if min(one.day for one in expiries) <= today else warning
        yield make_finding("client secrets", finding.text, finding.hint)
        return
    sections = external_services.list_oauth_sections(settings).items()
    dateless = [key for key, oauth in sections if oauth.client_secret and oauth.client_secret_expires is None]
    for key in dateless:
        hint = f"set {key}.client_secret_expires to its last day: casemill then warns 30 days ahead"
        yield warning("client secrets", f"the day on which {key}.client_secret expires is unknown", hint)
    if not dateless:
        yield ok("client secrets", finding.text if expiries else "none that expires")
