"""Doctor's checks of what others gave us: the API of forms, and client secrets that end."""

from __future__ import annotations

from collections.abc import Iterator
from zoneinfo import ZoneInfo

from cli.doctor.run import Finding, ok, problem, warning
from core import clock
from core.settings import Settings


def check_backfill(name: str, settings: Settings) -> Iterator[Finding]:
    """Whether the form's own list of submissions can be read. Takes nothing in."""
    from ingest.sources.formstack import HINTS, ListError, SubmissionList

    check, backfill = f"form {name}", settings.forms[name].backfill
    if backfill is None:
        return
    try:
        SubmissionList(name, backfill, wait=lambda _: None).fetch(1, clock.now(), size=1)
    except ListError as error:
        hint = HINTS.get(error.code, "see that backfill.base_url is right and can be reached from here; it is asked again")
        found = problem if error.permanent else warning
        yield found(check, error.text, hint.format(form=name))
        return
    yield ok(check, "its list of submissions can be read")


def check_secrets(settings: Settings) -> Iterator[Finding]:
    """Client secrets by the days they end."""
    from ops.invariants.external_services import judge_secrets, list_ends, list_oauth

    ends = list_ends(settings)
    today = clock.now().astimezone(ZoneInfo(settings.calendar.zone)).date()
    judged = judge_secrets(ends, today)
    if judged.is_violated:
        found = problem if min(one.day for one in ends) <= today else warning
        yield found("client secrets", judged.text, judged.hint)
        return
    dateless = [key for key, oauth in list_oauth(settings).items() if oauth.client_secret and oauth.client_secret_expires is None]
    for key in dateless:
        hint = f"set {key}.client_secret_expires to its last day, and you are warned 30 days ahead"
        yield warning("client secrets", f"nobody knows when {key}.client_secret ends", hint)
    if not dateless:
        yield ok("client secrets", judged.text if ends else "none that ends")
