"""Read Formstack's list of a form's submissions (formstack.md, Backfill; API v2025), and make arrivals of them.

The ledger identity of a submission is the one that the webhook gives it, so list and webhook make one item of it. Formstack's
times are naive, in the account's zone. In an hour that the clocks repeat, the earlier reading decides where to continue and the
later one how old a submission is.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from core import https
from core.errors import RefusedError
from core.settings.sections import Backfill, Form
from ingest.ledger.types import FORMSTACK, Arrival, Source
from ingest.parsers.form.members import MAX_ID_DIGITS
from ingest.sources.formstack_envelope import submission_identity

PAGE_SIZE = 100
REQUEST_TIMEOUT_SECONDS = 20.0
#: Pauses after the answer "too many requests", one after the other (formstack.md).
RETRY_PAUSES_SECONDS = (2.0, 4.0, 6.0)
#: HTTP statuses that an operator has to resolve; any other error is temporary.
PERMANENT_ERRORS = {400: "bad_request", 401: "refused_token", 403: "missing_permission", 404: "unknown_form"}
HINTS = {
    "refused_token": "create a new token in Formstack (Profile, API) and put it into forms.{form}.backfill.token",
    "missing_permission": "check in Formstack that the token's user may see the form's submissions",
    "unknown_form": "check the form's number, and that the token belongs to the account that has the form",
    "bad_request": "set backfill.base_url to the API's address, https://www.formstack.com/api/v2025",
    "untrusted_certificate": "set backfill.ca_file to the certificate of the authority that signed the server's",
    "too_many_requests": "casemill tries again; if this stays, raise backfill.minutes",
}
_TIME = "%Y-%m-%d %H:%M:%S"
_DIGITS = re.compile(rf"[0-9]{{1,{MAX_ID_DIGITS}}}")


class ListError(RefusedError):
    """The list could not be read. ``is_permanent``: an operator has to resolve it."""

    def __init__(self, code: str, *, permanent: bool = False) -> None:
        super().__init__(code, f"Formstack's list of submissions cannot be read: {code.replace('_', ' ')}")
        self.is_permanent = permanent


@dataclass(frozen=True, slots=True)
class ListedSubmission:
    """A submission in the list; ``earliest`` and ``latest`` (UTC) differ only in an hour that the clocks repeat."""

    submission: str
    earliest: datetime
    latest: datetime
    answers: tuple[Mapping[str, Any], ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class SubmissionPage:
    """One page of the list; ``unreadable`` counts entries without an id or a time."""

    submissions: tuple[ListedSubmission, ...]
    is_last: bool
    unreadable: int


class SubmissionList:
    """The list of one form. ``wait`` sleeps for the given seconds."""

    def __init__(self, form: str, settings: Backfill, wait: Callable[[float], None] = time.sleep) -> None:
        self._form = form
        self._settings = settings
        self._wait = wait
        self._zone = ZoneInfo(settings.zone)

    def read_pages(self, since: datetime | None) -> Iterator[SubmissionPage]:
        """Yield pages of the submissions from ``since`` (aware) on, oldest first. Raises :class:`ListError`."""
        number = 1
        while True:
            page = self._read_page(self.fetch_page(number, since), number)
            yield page
            if page.is_last:
                return
            number += 1

    def fetch_page(self, number: int, since: datetime | None, size: int = PAGE_SIZE) -> dict[str, Any]:
        """Return one page as received; pause and repeat the request after "too many requests". Raises :class:`ListError`."""
        for pause in RETRY_PAUSES_SECONDS:
            answer = self._request_page(number, since, size)
            if answer.status != 429:
                return _read_answer(answer)
            self._wait(pause)
        return _read_answer(self._request_page(number, since, size))

    def _request_page(self, number: int, since: datetime | None, size: int) -> https.HttpResponse:
        query = {"pageNumber": number, "pageSize": size, "order": "ASC", "data": "true", "expandData": "true",
                 "dataFormat": "standardized"}  # fmt: skip
        query |= {"minTime": since.astimezone(self._zone).strftime(_TIME)} if since is not None else {}
        url = f"{self._settings.base_url}/forms/{self._form}/submissions?{urlencode(query)}"
        headers = {"Authorization": f"Bearer {self._settings.token.get_secret_value()}", "Accept": "application/json"}
        try:
            return https.request(
                "GET", url, headers=headers, timeout_seconds=REQUEST_TIMEOUT_SECONDS, ca_file=self._settings.ca_file
            )
        except https.HTTP_ERRORS as error:
            raise ListError(https.error_code(error)) from None

    def _read_page(self, page: Mapping[str, Any], number: int) -> SubmissionPage:
        entries, about = page.get("submissions"), page.get("page")
        total = about.get("totalPages") if isinstance(about, dict) else None
        if not isinstance(entries, list) or not isinstance(total, int):
            raise ListError("bad_answer")
        listed = [one for entry in entries if (one := self._read_entry(entry)) is not None]
        return SubmissionPage(tuple(listed), number >= total or not entries, len(entries) - len(listed))

    def _read_entry(self, entry: object) -> ListedSubmission | None:
        if not isinstance(entry, dict):
            return None
        submission, data = str(entry.get("id") or ""), entry.get("data")
        try:
            naive = datetime.strptime(str(entry.get("timestamp")), _TIME)  # noqa: DTZ007 - the zone is the account's
        except ValueError:
            return None
        if not _DIGITS.fullmatch(submission) or not isinstance(data, list):
            return None
        moments = [naive.replace(tzinfo=self._zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
        answers = tuple(answer for answer in data if isinstance(answer, dict))
        return ListedSubmission(submission, min(moments), max(moments), answers)


def to_arrival(form: str, settings: Form, listed: ListedSubmission) -> Arrival:
    """Return the submission as the webhook would have posted it, with field types. Fields have the names in ``labels``."""
    known = set(settings.labels)
    members = [("FormID", form), ("UniqueID", listed.submission), *(_make_field(answer, known) for answer in listed.answers)]
    # A label may occur twice: members written one by one keep both.
    text = ",".join(f"{json.dumps(key)}:{json.dumps(value, ensure_ascii=False)}" for key, value in members)
    return Arrival(
        family=FORMSTACK, kind="form", source=str(Source("form", form)), place=listed.submission,
        raw=f"{{{text}}}".encode("utf-8", "surrogatepass"), received_at=listed.earliest,
        identity=submission_identity(form, listed.submission), extra={"content_type": "application/json", "backfill": True},
    )  # fmt: skip


def _make_field(answer: Mapping[str, Any], known: set[str]) -> tuple[str, object]:
    number, label = str(answer.get("field") or ""), str(answer.get("label") or "")
    key = number if number in known or not label else label
    parsed, shown = answer.get("parsedValue"), answer.get("displayValue")
    value = parsed if isinstance(parsed, dict | list) and parsed else shown if shown is not None else parsed
    return key if key not in ("FormID", "UniqueID") else f"field {number}", {"value": value, "field_type": answer.get("type")}


def _read_answer(answer: https.HttpResponse) -> dict[str, Any]:
    if answer.status != 200:
        code = "too_many_requests" if answer.status == 429 else PERMANENT_ERRORS.get(answer.status, f"status_{answer.status}")
        raise ListError(code, permanent=answer.status in PERMANENT_ERRORS)
    try:
        read = json.loads(answer.body)
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict):
        raise ListError("bad_answer")
    return read
