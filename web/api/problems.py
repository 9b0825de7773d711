"""Problem details (RFC 9457): the error responses of the API."""

from __future__ import annotations

import msgspec
from starlette.responses import JSONResponse, Response

from web.request_body import ClosingResponse

MEDIA_TYPE = "application/problem+json"


class Problem(msgspec.Struct, omit_defaults=True, rename={"kind": "type"}):
    """Why a request failed. Programs test `code`, which never changes; `detail` and `hint` are sentences for people."""

    title: str
    status: int
    code: str
    detail: str = ""
    hint: str = ""
    kind: str = "about:blank"


class ProblemError(Exception):
    """Ends a request with a problem document and ``headers``.

    ``is_body_unread`` says that the client may still be sending its body.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        hint: str = "",
        headers: dict[str, str] | None = None,
        is_body_unread: bool = False,
    ) -> None:
        super().__init__(code)
        self.problem = Problem(TITLES[status], status, code, detail, hint)
        self.headers = headers or {}
        self.is_body_unread = is_body_unread


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


def problem_response(error: ProblemError) -> Response:
    """Return the response with the problem document of ``error``."""
    response_type = ClosingResponse if error.is_body_unread else JSONResponse
    return response_type(msgspec.to_builtins(error.problem), error.problem.status, error.headers, MEDIA_TYPE)
