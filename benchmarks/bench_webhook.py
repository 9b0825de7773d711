"""Measure signed Formstack posts, answered after the commit, over 16 persistent connections, against a floor in the same run.

The floor is the same web server with a handler that only verifies the HMAC and makes one durable insert. Each server runs in
its own process on SQLite with synchronous=FULL; this process sends the posts. The figures are medians of three rounds, in turn.
The second measurement is the response time at a steady 200 posts a second, counted from when each post was due.

Run: python -m benchmarks.bench_webhook [--posts 4000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.harness import ROOT, Result, format_runs, log_progress, median, percentile, record

FORM, KEY, HANDSHAKE = "5512345", "demo-hmac-key", "demo-shared-secret"
CONNECTIONS = 16
STEADY_POSTS_PER_SECOND, STEADY_SECONDS = 200, 10


def main() -> None:
    parser = argparse.ArgumentParser(description="Signed posts against a bare handler with one durable insert.")
    parser.add_argument("--posts", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", choices=("casemill", "floor"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.folder)
    else:
        measure(options.posts, options.rounds)


def measure(posts: int, rounds: int) -> None:
    rates: dict[str, list[float]] = {"floor": [], "casemill": []}
    for number in range(rounds):
        for name, measured in rates.items():
            with running(name) as port:
                asyncio.run(run_load(port, make_requests(port, 500, first=1)))
                requests = make_requests(port, posts, first=10_000)
                started = time.perf_counter()
                asyncio.run(run_load(port, requests))
                measured.append(posts / (time.perf_counter() - started))
        log_progress(f"run {number + 1}: " + ", ".join(f"{name} {measured[-1]:.0f}/s" for name, measured in rates.items()))
    own, floor = rates["casemill"], rates["floor"]
    record(Result("Formstack posts", median(own), "posts/s", "verify and insert", median(floor), 0.5, note=format_runs(own)))
    tails = []
    for _ in range(rounds):
        with running("casemill") as port:
            asyncio.run(run_load(port, make_requests(port, 200, first=1)))
            tails.append(1000 * percentile(asyncio.run(run_steady(port)), 0.99))
    name = f"Formstack posts at {STEADY_POSTS_PER_SECOND} a second, p99"
    record(Result(name, median(tails), "ms", reach=50, most=True, note=format_runs(tails)))


@contextmanager
def running(name: str) -> Iterator[int]:
    """Start the named server in its own process with an empty database; yield its port."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.bench_webhook", "--serve", name, "--folder", folder]
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield int(process.stdout.readline() if process.stdout else 0)
            finally:
                process.communicate(timeout=30)


def make_requests(port: int, count: int, *, first: int) -> list[bytes]:
    """Return complete HTTP requests, each with its own submission."""
    return [make_request(port, number) for number in range(first, first + count)]


def make_request(port: int, number: int, email: str = "dana.ortiz@riverside.example") -> bytes:
    fields = {
        "FormID": FORM,
        "UniqueID": str(number),
        "HandshakeKey": HANDSHAKE,
        "172000001": {"value": "Riverside Family Clinic", "field_type": "text"},
        "172000002": {"first": "Dana", "last": "Ortiz", "field_type": "name"},
        "172000003": {"value": email, "field_type": "email"},
        "172000004": {"value": f"Claim {number} was denied twice.\nPlease call me after 2 pm.", "field_type": "textarea"},
    }
    body = json.dumps(fields).encode()
    signature = hmac.new(KEY.encode(), body, hashlib.sha256).hexdigest()
    head = (
        f"POST /hooks/formstack/{FORM} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"X-FS-Signature: sha256={signature}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def run_load(port: int, requests: Sequence[bytes]) -> None:
    """Send all requests as fast as the connections allow."""
    waiting = iter(requests)

    async def work() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for request in waiting:
            await exchange(reader, writer, request)
        writer.close()

    await asyncio.gather(*(work() for _ in range(CONNECTIONS)))


async def run_steady(port: int) -> list[float]:
    """Return, for each post at the steady rate, the seconds from when it was due to its response."""
    requests = make_requests(port, STEADY_POSTS_PER_SECOND * STEADY_SECONDS, first=100_000)
    idle: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        idle.put_nowait(await asyncio.open_connection("127.0.0.1", port))
    started = time.perf_counter()

    async def post_one(number: int) -> float:
        due = started + number / STEADY_POSTS_PER_SECOND
        await asyncio.sleep(due - time.perf_counter())
        connection = await idle.get()
        await exchange(*connection, requests[number])
        idle.put_nowait(connection)
        return time.perf_counter() - due

    return await asyncio.gather(*(post_one(number) for number in range(len(requests))))


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise SystemExit(f"a post was answered {head[:30]!r}")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(int(length.partition(b":")[2]))


def serve(name: str, folder: Path) -> None:
    """Run one of the two servers until standard input ends."""
    from runtime import process_tuning
    from web.server import WebServer

    app = make_casemill(folder) if name == "casemill" else make_floor(folder)
    server = WebServer(app, "127.0.0.1:0")
    server.start()
    # casemill's own processes are tuned this way, so the floor is as well.
    process_tuning.tune_garbage_collector()
    print(server.address.rpartition(":")[2], flush=True)
    sys.stdin.read()
    server.stop()


def make_casemill(folder: Path):  # type: ignore[no-untyped-def]
    import accounts.models  # noqa: F401 - registers its tables
    import core.leases  # noqa: F401
    import notify.models  # noqa: F401
    import outbox.models  # noqa: F401
    import tickets.models  # noqa: F401
    from core.database.session import Database
    from core.database.types import Base
    from core.settings import Settings
    from web import app

    database = Database(f"sqlite:///{folder / 'casemill.db'}")
    Base.metadata.create_all(database.engine)
    form = {"signature_keys": [KEY], "handshake_key": HANDSHAKE}
    return app.create_app(Settings.model_validate({"data_dir": str(folder), "forms": {FORM: form}}), database)


def make_floor(folder: Path):  # type: ignore[no-untyped-def]
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    connection = sqlite3.connect(folder / "floor.db", isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE post (id INTEGER PRIMARY KEY, body BLOB NOT NULL)")

    async def receive(request: Request) -> Response:
        body = await request.body()
        expected = "sha256=" + hmac.new(KEY.encode(), body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected.encode(), request.headers["x-fs-signature"].encode()):
            return JSONResponse({"status": "refused"}, 401)
        connection.execute("INSERT INTO post (body) VALUES (?)", (body,))
        return JSONResponse({"status": "accepted"})

    return Starlette(routes=[Route("/hooks/formstack/{form}", receive, methods=["POST"])])


if __name__ == "__main__":
    main()
