"""A stand-in for Formstack's API v2025: submissions in pages, oldest first, with naive times in the account's zone."""

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from tests.servers.web import HttpRequest, HttpResponse, WebServer

TOKEN = "fs_pat_canary"
ANSWERS: dict[str, tuple[str, str, Any]] = {
    "172000001": ("Practice Name", "text", "Riverside Family Clinic"),
    "172000002": ("Contact", "name", {"first": "Dana", "last": "Ortiz"}),
    "172000003": ("Email", "email", "dana.ortiz@riverside.example"),
    "172000005": ("Type of Request", "checkbox", ["Eligibility", "Denials"]),
    "172000006": ("Details", "textarea", "Claim 88-2041 was denied twice.\nPlease call me."),
}


@dataclass(frozen=True)
class StoredSubmission:
    """A submission with its naive time, `YYYY-MM-DD HH:MM:SS`, and its answers."""

    submission: int
    timestamp: str
    answers: dict[str, tuple[str, str, Any]]


class FormstackServer:
    """The API for form 5512345. `failures` are the responses to the next requests; `queries` holds the queries received."""

    form = "5512345"

    def __init__(self) -> None:
        self.submissions: list[StoredSubmission] = []
        self.failures: list[HttpResponse] = []
        self.queries: list[dict[str, str]] = []
        self._server = WebServer(self._answer)

    @property
    def url(self) -> str:
        return f"{self._server.url}/api/v2025"

    def submit(self, submission: int, timestamp: str, answers: dict[str, tuple[str, str, Any]] | None = None) -> None:
        """Add a submission to the list."""
        self.submissions.append(StoredSubmission(submission, timestamp, ANSWERS if answers is None else answers))

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.__exit__(kind, error, trace)

    def _answer(self, request: HttpRequest) -> HttpResponse:
        self.queries.append(request.query)
        if self.failures:
            return self.failures.pop(0)
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return HttpResponse(401, {"error": f"the token {request.headers.get('authorization')} is wrong"})
        if request.path != f"/api/v2025/forms/{self.form}/submissions":
            return HttpResponse(404, {"error": "no such form"})
        size, number = int(request.query["pageSize"]), int(request.query["pageNumber"])
        wanted = [one for one in self.submissions if one.timestamp >= request.query.get("minTime", "")]
        wanted.sort(key=lambda one: (one.timestamp, one.submission))
        page = wanted[(number - 1) * size : number * size]
        entries = [_to_api_entry(self.form, one) for one in page]
        return HttpResponse(200, {"submissions": entries, "page": {"totalPages": -(-len(wanted) // size)}})


def _to_api_entry(form: str, one: StoredSubmission) -> dict[str, Any]:
    data = [
        {"field": field, "label": label, "type": kind, "displayValue": _display_value(value), "parsedValue": value}
        for field, (label, kind, value) in one.answers.items()
    ]
    return {"id": str(one.submission), "formId": form, "timestamp": one.timestamp, "data": data}


def _display_value(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{key} = {part}" for key, part in value.items())
    return ", ".join(value) if isinstance(value, list) else str(value)
