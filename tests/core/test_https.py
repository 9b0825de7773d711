"""HTTPS requests: any status is a response, redirects are not followed, plain text stays on this machine."""

import pytest

from core import https
from core.errors import RefusedError
from tests.servers.ports import free_port
from tests.servers.web import HttpRequest, HttpResponse, WebServer


def respond(request: HttpRequest) -> HttpResponse:
    if request.path == "/there":
        return HttpResponse(302, b"", {"Location": f"http://127.0.0.1:1/{request.headers['authorization']}"})
    return HttpResponse(int(request.path.strip("/")), {"said": request.body.decode()})


@pytest.mark.parametrize("status", [200, 404, 429, 503])
def test_response_of_any_status_is_returned(status: int) -> None:
    with WebServer(respond) as server:
        response = https.request("POST", f"{server.url}/{status}", body=b"x")
    assert (response.status, response.body) == (status, b'{"said": "x"}')
    assert "said" not in repr(response)


def test_redirect_is_not_followed() -> None:
    with WebServer(respond) as server:
        assert https.request("GET", f"{server.url}/there", headers={"Authorization": "Bearer t"}).status == 302


@pytest.mark.parametrize("url", ["http://api.example/x", "ftp://localhost/x", "file:///etc/passwd", "localhost"])
def test_address_that_is_neither_https_nor_local_is_refused(url: str) -> None:
    with pytest.raises(RefusedError, match="plain text"):
        https.request("GET", url)


def test_unreachable_server_raises_error_with_code() -> None:
    with pytest.raises(https.HTTP_ERRORS) as caught:
        https.request("GET", f"http://localhost:{free_port()}/")
    assert https.error_code(caught.value) == "connection_refusal"
