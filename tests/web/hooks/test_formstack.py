"""Every rule of the webhook's contract (formstack.md), over a real connection."""

from __future__ import annotations

import io
import json
import logging
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from sqlalchemy import func, select, text

from core import blobs, logs
from core.blobs import Blob
from core.database.types import Base
from ingest.ledger.models import Sighting
from runtime import drain_requests
from tests.web.conftest import FORM, HANDSHAKE, KEY, Serve, Site
from tests.web.hooks import vectors
from tests.web.hooks.vectors import JSON, URLENCODED, sign
from web.hooks import batch_writer

PATH = f"/hooks/formstack/{FORM}"
ACCEPTED = {"status": "accepted"}


def post(site: Site, body: bytes, *, kind: str = JSON, signature: str | None = "", path: str = PATH) -> httpx.Response:
    """Post a body, signed with the right key unless ``signature`` is another header value or None."""
    headers = {"content-type": kind}
    if signature is not None:
        headers["X-FS-Signature"] = signature or sign(body)
    return site.client.post(path, content=body, headers=headers)


def submission(number: int, *, details: str = "Please call", form: str = FORM, handshake: str | None = HANDSHAKE) -> bytes:
    fields = {"FormID": form, "UniqueID": str(number), "172000001": details}
    if handshake is not None:
        fields["HandshakeKey"] = handshake
    return json.dumps(fields).encode()


def count_blobs(site: Site) -> int:
    with site.database.read() as session:
        return session.execute(select(func.count()).select_from(Blob)).scalar_one()


@pytest.fixture
def log_lines() -> Iterator[io.StringIO]:
    """Everything that the process logs, at level DEBUG, as JSON lines."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonFormatter())
    root, own = logging.getLogger(), logging.getLogger("casemill")
    root.addHandler(handler)
    own.setLevel(logging.DEBUG)
    yield stream
    root.removeHandler(handler)
    own.setLevel(logging.NOTSET)


@pytest.mark.parametrize(
    ("body", "kind", "signature"),
    [
        (vectors.LABELS, JSON, vectors.LABELS_SIGNATURE),
        (vectors.LINES, URLENCODED, vectors.LINES_SIGNATURE),
    ],
)
def test_documented_submission_is_stored_before_response(site: Site, body: bytes, kind: str, signature: str) -> None:
    response = post(site, body, kind=kind, signature=signature)
    assert (response.status_code, response.json()) == (200, ACCEPTED)
    (item,) = site.items()
    assert (item.family, item.kind, item.source, item.state) == ("formstack", "form", f"form:{FORM}", "waiting")
    assert item.identity in (f"{FORM}/1512345678", f"{FORM}/1512345680")
    assert item.extra == {"content_type": kind.partition(";")[0]}
    with site.database.read() as session:
        stored = blobs.get(session, item.sha256)
        place = session.execute(select(Sighting.place).where(Sighting.item_id == item.id)).scalar_one()
    assert b"Riverside" in stored
    assert HANDSHAKE.encode() not in stored
    assert place == item.identity.partition("/")[2]


def test_submission_without_handshake_key_is_stored_byte_for_byte(serve: Serve) -> None:
    site = serve(forms={FORM: {"signature_keys": [KEY]}})
    assert post(site, vectors.IDS, signature=vectors.IDS_SIGNATURE).status_code == 200
    with site.database.read() as session:
        assert blobs.get(session, site.items()[0].sha256) == vectors.IDS


def test_shortest_vector_is_accepted_with_its_key(serve: Serve) -> None:
    site = serve(forms={"6606394": {"signature_keys": ["test1"], "handshake_key": "test"}})
    body = b"FormID=6606394&UniqueID=1500878955&HandshakeKey=test"
    signature = "sha256=30dff7f180b6d69eab397a5d51719474df490b730514c253e8b5832d3b51b970"
    assert post(site, body, kind=URLENCODED, signature=signature, path="/hooks/formstack/6606394").status_code == 200


def test_both_keys_are_accepted_during_key_rotation(serve: Serve) -> None:
    site = serve(forms={FORM: {"signature_keys": ["new-key", KEY]}})
    for number, key in enumerate(("new-key", KEY)):
        body = submission(number + 1)
        assert post(site, body, signature=sign(body, key)).status_code == 200
    assert len(site.items()) == 2


def test_signature_is_read_from_configured_header(serve: Serve) -> None:
    site = serve(forms={FORM: {"signature_keys": [KEY], "signature_header": "X-Own-Signature"}})
    body = submission(1)
    assert post(site, body).status_code == 401
    headers = {"content-type": JSON, "x-own-signature": sign(body)}
    assert site.client.post(PATH, content=body, headers=headers).status_code == 200


def test_unsigned_form_needs_neither_signature_nor_handshake_key(serve: Serve) -> None:
    site = serve(forms={FORM: {"unsigned": True}})
    assert post(site, submission(1, handshake=None), signature=None).status_code == 200


def test_form_with_only_handshake_key_requires_it(serve: Serve) -> None:
    site = serve(forms={FORM: {"handshake_key": HANDSHAKE}})
    assert post(site, submission(1, handshake="wrong"), signature=None).status_code == 401
    assert post(site, submission(1, handshake=None), signature=None).status_code == 401
    assert post(site, submission(1), signature=None).status_code == 200


@pytest.mark.parametrize(
    "signature",
    [None, "sha256=" + "0" * 64, vectors.LABELS_SIGNATURE.upper(), vectors.LABELS_SIGNATURE[7:], "sha256=é", "sha256="],
)
def test_wrong_or_missing_signature_is_refused_without_detail(site: Site, signature: str | None) -> None:
    headers = [("content-type", JSON)] + ([("x-fs-signature", signature)] if signature is not None else [])
    raw = [(name.encode(), value.encode()) for name, value in headers]
    response = site.client.post(PATH, content=vectors.LABELS, headers=raw)
    assert (response.status_code, response.json()) == (401, {"status": "refused"})
    assert site.items() == []


def test_two_signature_headers_are_refused(site: Site) -> None:
    body = submission(1)
    headers = [("content-type", JSON), ("x-fs-signature", "sha256=0"), ("x-fs-signature", sign(body))]
    assert site.client.post(PATH, content=body, headers=headers).status_code == 401


@pytest.mark.parametrize("handshake", ["wrong", "", None, "Demo-shared-secret", "démo", "\ud800"])
def test_wrong_handshake_key_gets_same_response_as_wrong_signature(site: Site, handshake: str | None) -> None:
    response = post(site, submission(1, handshake=handshake))
    assert (response.status_code, response.json()) == (401, {"status": "refused"})
    assert site.items() == []


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        (b"{", JSON, "bad_json"),
        (b"[1]", JSON, "bad_json"),
        (b"", JSON, "bad_json"),
        (b'{"FormID":"5512345"}', JSON, "no_submission_id"),
        (b'{"UniqueID":"1"}', JSON, "no_form_id"),
        (b'{"FormID":"5512345","UniqueID":"../../x"}', JSON, "no_submission_id"),
        (b'{"FormID":"5512345","UniqueID":"1","UniqueID":"2"}', JSON, "duplicate_key"),
        (b"no pairs at all", URLENCODED, "bad_form"),
        (b"FormID=5512345&UniqueID=1&a=%FF", URLENCODED, "not_utf8"),
        (b'{"a":' * 100_000, JSON, "too_deep"),
        (submission(1, form="5512346"), JSON, "wrong_form"),
    ],
)
def test_malformed_submission_is_refused_with_code(site: Site, body: bytes, kind: str, code: str) -> None:
    response = post(site, body, kind=kind)
    assert (response.status_code, response.json()) == (400, {"status": "refused", "code": code})
    assert site.items() == []


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "application/xml", "", "application/jsonp"])
def test_unsupported_content_type_is_refused(site: Site, kind: str) -> None:
    assert post(site, submission(1), kind=kind).status_code == 415
    assert site.items() == []


def test_compressed_body_is_refused(site: Site) -> None:
    body = submission(1)
    headers = {"content-type": JSON, "content-encoding": "gzip", "x-fs-signature": sign(body)}
    assert site.client.post(PATH, content=body, headers=headers).status_code == 415


def test_unconfigured_form_is_not_found(site: Site) -> None:
    assert post(site, submission(1, form="999"), path="/hooks/formstack/999").status_code == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD"])
def test_methods_other_than_post_are_refused(site: Site, method: str) -> None:
    response = site.client.request(method, PATH)
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"


def test_body_declared_too_large_is_refused_before_it_is_sent(site: Site) -> None:
    host, port = site.server.address.split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        head = f"POST {PATH} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {JSON}\r\nContent-Length: 1048577\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_body_of_exactly_the_limit_is_accepted(site: Site) -> None:
    frame = len(submission(1, details=""))
    body = submission(1, details="x" * (1024 * 1024 - frame))
    assert len(body) == 1024 * 1024
    assert post(site, body).status_code == 200


def test_chunked_body_over_limit_is_refused_while_it_arrives(site: Site) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += 65_536
            yield b"x" * 65_536

    headers = {"content-type": JSON, "x-fs-signature": "sha256=0"}
    response = site.client.post(PATH, content=endless(), headers=headers)
    assert (response.status_code, response.json()["code"]) == (413, "too_large")
    assert site.items() == []


def test_slow_chunked_body_is_refused_once_it_exceeds_limit(serve: Serve) -> None:
    site = serve(limits={"form_bytes": 1000})
    host, port = site.server.address.split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        head = f"POST {PATH} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {JSON}\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode())
        for _ in range(3):
            connection.sendall(b"190\r\n" + b"x" * 400 + b"\r\n")
            time.sleep(0.1)
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_repeated_post_is_accepted_and_stored_once(site: Site) -> None:
    for _ in range(3):
        response = post(site, vectors.LABELS, signature=vectors.LABELS_SIGNATURE)
        assert (response.status_code, response.json()) == (200, ACCEPTED)
    assert len(site.items()) == 1


def test_hundred_concurrent_posts_of_one_submission_are_one_item(site: Site) -> None:
    with ThreadPoolExecutor(25) as pool, httpx.Client(base_url=site.url, timeout=20) as client:
        headers = {"content-type": JSON, "x-fs-signature": vectors.LABELS_SIGNATURE}
        responses = list(pool.map(lambda _: client.post(PATH, content=vectors.LABELS, headers=headers), range(100)))
    assert {response.status_code for response in responses} == {200}
    assert len(site.items()) == 1


def test_two_hundred_concurrent_submissions_are_all_stored(site: Site) -> None:
    with ThreadPoolExecutor(16) as pool:
        responses = list(pool.map(lambda number: post(site, submission(number)).status_code, range(1, 201)))
    assert responses == [200] * 200
    assert {item.identity for item in site.items()} == {f"{FORM}/{number}" for number in range(1, 201)}


def test_changed_submission_keeps_first_version_and_logs_both_hashes(site: Site, log_lines: io.StringIO) -> None:
    assert post(site, submission(1, details="first words")).status_code == 200
    first_sha256 = site.items()[0].sha256
    response = post(site, submission(1, details="other words"))
    assert (response.status_code, response.json()) == (200, ACCEPTED)
    assert [item.sha256 for item in site.items()] == [first_sha256]
    assert count_blobs(site) == 1
    lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    (line,) = [line for line in lines if line["event"] == "webhook post changed, first version kept"]
    assert line["stored"] == first_sha256
    assert line["sha256"] not in (first_sha256, "withheld")
    assert "words" not in log_lines.getvalue()


def test_same_submission_id_of_another_form_is_another_item(serve: Serve) -> None:
    site = serve(forms={FORM: {"unsigned": True}, "77": {"unsigned": True}})
    post(site, submission(1), signature=None)
    post(site, submission(1, form="77"), signature=None, path="/hooks/formstack/77")
    assert sorted(item.identity for item in site.items()) == ["5512345/1", "77/1"]


def test_handshake_key_is_neither_stored_nor_logged(site: Site, log_lines: io.StringIO) -> None:
    post(site, vectors.LABELS, signature=vectors.LABELS_SIGNATURE)
    post(site, vectors.LINES, kind=URLENCODED, signature=vectors.LINES_SIGNATURE)
    post(site, vectors.LABELS, signature="sha256=0")
    post(site, submission(2, handshake=HANDSHAKE + "x"))
    with site.database.read() as session:
        for table in Base.metadata.sorted_tables:
            for row in session.execute(select(table)):
                assert HANDSHAKE not in str(tuple(row))
        assert all(HANDSHAKE.encode() not in content for content in session.execute(select(Blob.content)).scalars())
    assert len(site.items()) == 2
    logged = log_lines.getvalue()
    assert logged.count("webhook post refused") == 2
    assert HANDSHAKE not in logged
    assert "Riverside" not in logged


def test_drain_is_requested_after_commit(site: Site) -> None:
    seen: list[tuple[str, int]] = []
    drain_requests.connect(lambda name: seen.append((name, len(site.items()))))
    try:
        post(site, submission(1))
        deadline = time.monotonic() + 5
        while not seen and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        drain_requests.connect(None)
    assert seen == [("ingest.drain", 1)]


def test_locked_database_answers_503_and_stores_post_later(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_writer, "STORE_SECONDS", 0.5)
    with site.database.engine.connect() as holder:
        holder.execute(text("SELECT 1"))
        if not site.database.is_sqlite:
            holder.execute(text("LOCK TABLE inbound_item IN ACCESS EXCLUSIVE MODE"))
        response = post(site, submission(1))
        assert (response.status_code, response.json()["code"]) == (503, "unavailable")
        assert int(response.headers["retry-after"]) > 0
        holder.rollback()
    deadline = time.monotonic() + 10
    while not site.items() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(site.items()) == 1
    assert post(site, submission(1)).status_code == 200
    assert len(site.items()) == 1


def test_post_over_pending_limit_is_answered_503_at_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_writer, "MAX_PENDING_BYTES", 100)
    started = time.monotonic()
    assert post(site, submission(1, details="x" * 200)).status_code == 503
    assert time.monotonic() - started < 2
    assert post(site, submission(1, details="x", handshake=HANDSHAKE)).status_code == 200


def test_disconnected_client_stores_nothing(site: Site) -> None:
    host, port = site.server.address.split(":")
    body = submission(1)
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        head = f"POST {PATH} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {JSON}\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body[:20])
    assert post(site, submission(2)).status_code == 200
    assert [item.identity for item in site.items()] == [f"{FORM}/2"]
