"""Requests to web services: any status is an answer, a redirect is not followed, plain text stays on this machine."""

import pytest

from core import https
from core.errors import RefusedError
from tests.servers.ports import free_port
from tests.servers.web import HttpRequest, HttpResponse, WebServer


def answer(asked: HttpRequest) -> HttpResponse:
    if asked.path == "/there":
        return HttpResponse(302, b"", {"Location": f"http://127.0.0.1:1/{asked.headers['authorization']}"})
    return HttpResponse(int(asked.path.strip("/")), {"said": asked.body.decode()})


@pytest.mark.parametrize("status", [200, 404, 429, 503])
def test_any_status_is_an_answer(status: int) -> None:
    with WebServer(answer) as server:
        told = https.request("POST", f"{server.url}/{status}", body=b"x")
    assert (told.status, told.body) == (status, b'{"said": "x"}')
    assert "said" not in repr(told)


def test_a_redirect_is_not_followed_with_the_token() -> None:
    with WebServer(answer) as server:
        assert https.request("GET", f"{server.url}/there", headers={"Authorization": "Bearer t"}).status == 302


@pytest.mark.parametrize("url", ["http://api.example/x", "ftp://localhost/x", "file:///etc/passwd", "localhost"])
def test_an_address_that_is_neither_https_nor_this_machine_is_refused(url: str) -> None:
    with pytest.raises(RefusedError, match="plain text"):
        https.request("GET", url)


def test_a_server_that_is_not_there_is_an_error_with_a_code() -> None:
    with pytest.raises(https.HTTP_ERRORS) as caught:
        https.request("GET", f"http://localhost:{free_port()}/")
    assert https.error_code(caught.value) == "connection_refusal"
