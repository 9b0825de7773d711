"""Problem details (RFC 9457): how the API says no."""

from __future__ import annotations

import msgspec
from starlette.responses import JSONResponse, Response

from web.request_body import LastResponse

MEDIA_TYPE = "application/problem+json"


class Problem(msgspec.Struct, omit_defaults=True, rename={"kind": "type"}):
    """Why a request was not done. ``code`` is a word for programs that never changes, ``detail`` a sentence for people."""

    title: str
    status: int
    code: str
    detail: str = ""
    hint: str = ""
    kind: str = "about:blank"


class ProblemError(Exception):
    """Ends a request with a problem; ``headers`` go along. ``is_unread``: the client may still be sending its body."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        hint: str = "",
        headers: dict[str, str] | None = None,
        is_unread: bool = False,
    ) -> None:
        super().__init__(code)
        self.problem = Problem(TITLES[status], status, code, detail, hint)
        self.headers = headers or {}
        self.is_unread = is_unread


#: The reason phrases of RFC 9110.
TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    503: "Service Unavailable",
}


def answer(error: ProblemError) -> Response:
    """The response that tells the problem."""
    kind = LastResponse if error.is_unread else JSONResponse
    return kind(msgspec.to_builtins(error.problem), error.problem.status, error.headers, MEDIA_TYPE)
