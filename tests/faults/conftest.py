"""Trials for the fault tests, and the collection of their results for the report."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import NOT_RUN
from tests.faults.report import Report, Row
from tests.faults.shared_trial import SharedTrial
from tests.faults.trial import FULL, MODES, SEED, Servers, Trial
from tests.servers import needs
from tests.servers.disk import SmallDisk
from tests.servers.dovecot import DovecotServer
from tests.servers.process import find_program
from tests.servers.smtp import SmtpServer
from tests.servers.tls import Certificates

_REPORT = pytest.StashKey[Report]()
_ROW = pytest.StashKey[Row]()
_DESELECTED = pytest.StashKey[dict[str, pytest.Item]]()
_FAILED = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fault(*names): the faults a test is about, as lines of the fault report")
    config.stash[_REPORT] = Report()
    config.stash[_DESELECTED] = {}


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    outcome: Any = yield
    report = outcome.get_result()
    row = item.stash.get(_ROW, None)
    if report.failed:
        item.stash[_FAILED] = True
    if row is not None and (report.when == "call" or report.failed):
        row.outcome = "FAILED" if report.failed else "held"
        row.seconds += report.duration


def pytest_sessionfinish(session: pytest.Session) -> None:
    path = os.environ.get("FAULTS_REPORT")
    report = session.config.stash.get(_REPORT, None)
    if path and report and report.rows:
        report.rows += _not_run(session.config)
        items = [*session.items, *session.config.stash[_DESELECTED].values()]
        report.write(Path(path), kept={item.originalname for item in items if isinstance(item, pytest.Function)})


def _not_run(config: pytest.Config) -> list[Row]:
    """Return a row for each test that this platform cannot run."""
    rows = []
    for server, nodeid in config.stash[NOT_RUN]:
        if nodeid in config.stash[_DESELECTED]:
            rows.append(make_row(config.stash[_DESELECTED][nodeid]))
            rows[-1].runs, rows[-1].outcome = 0, f"NOT RUN: {needs.explain_missing(server)}"
    return rows


def pytest_deselected(items: list[pytest.Item]) -> None:
    for item in items:
        item.config.stash[_DESELECTED][item.nodeid] = item


def make_row(item: Any) -> Row:
    """Return the row of a test before it runs. A test without the marker is not about a fault and has no row."""
    marker = item.get_closest_marker("fault")
    names = marker.args if marker else ()
    params = item.callspec.params if hasattr(item, "callspec") else {}
    mode = params.get("mode") or params.get("shared_mode") or "embedded"
    return Row(tuple(names), item.originalname, mode, form="full" if FULL else "short")


@pytest.fixture(autouse=True)
def row(request: pytest.FixtureRequest) -> Row:
    """The test's row in the report; the test sets its runs and seed."""
    row = make_row(request.node)
    if row.faults:
        request.config.stash[_REPORT].rows.append(row)
    request.node.stash[_ROW] = row
    return row


@pytest.fixture
def seed(row: Row) -> int:
    """The seed of this run; printed, and written into the report."""
    row.seed = SEED
    print(f"FAULT_SEED={SEED}")
    return SEED


@pytest.fixture(params=list(MODES))
def mode(request: pytest.FixtureRequest) -> str:
    """`embedded` (one process, SQLite) or `scaled` (four kinds of processes, PostgreSQL, Redis)."""
    return str(request.param)


@pytest.fixture
def servers(request: pytest.FixtureRequest, mode: str, dovecot: DovecotServer, smtp_server: SmtpServer) -> Servers:
    if mode == "embedded":
        return Servers(dovecot, smtp_server)
    return Servers(dovecot, smtp_server, request.getfixturevalue("redis_server"), request.getfixturevalue("postgres_server"))


@pytest.fixture
def make_trial(servers: Servers, tmp_path: Path) -> Iterator[Callable[..., Trial]]:
    """Makes trials, whose processes are not started yet."""
    with ExitStack() as stack:

        def make(name: str = "casemill", **options: Any) -> Trial:
            trial = Trial(tmp_path / name, servers, **options)
            stack.callback(trial.close)
            return trial

        yield make


@pytest.fixture
def trial(make_trial: Callable[..., Trial]) -> Trial:
    return make_trial()


@pytest.fixture(scope="package", params=list(MODES))
def shared_mode(request: pytest.FixtureRequest) -> str:
    """Like `mode`, for tests that share a running casemill."""
    return str(request.param)


@pytest.fixture(scope="package")
def _shared_trials() -> Iterator[dict[str, SharedTrial]]:
    trials: dict[str, SharedTrial] = {}
    yield trials
    for shared_trial in trials.values():
        shared_trial.close()


@pytest.fixture
def shared_trial(
    request: pytest.FixtureRequest, shared_mode: str, _shared_trials: dict[str, SharedTrial], certificates: Certificates,
    tmp_path_factory: pytest.TempPathFactory, server_folder: Path,
) -> Iterator[SharedTrial]:  # fmt: skip
    """A casemill that runs from test to test; after a failed test it is replaced."""
    for other in [other for other in _shared_trials if other != shared_mode]:
        _shared_trials.pop(other).close()
    if shared_mode not in _shared_trials:
        needs.require("dovecot")
        postgres = request.getfixturevalue("postgres_server") if shared_mode == "scaled" else None
        folder = server_folder / tmp_path_factory.mktemp(shared_mode).name
        folder.mkdir()
        _shared_trials[shared_mode] = SharedTrial(folder, certificates, postgres)
    yield _shared_trials[shared_mode]
    if request.node.stash.get(_FAILED, False):
        _shared_trials.pop(shared_mode).close()


@pytest.fixture(scope="session")
def strace() -> str:
    """The path of strace, which injects faults into system calls."""
    needs.require("strace")
    return str(find_program("strace"))


@pytest.fixture(scope="session")
def tracing() -> None:
    """Requires that strace may attach to running processes."""
    needs.require("ptrace")


@pytest.fixture
def small_disk(server_folder: Path, tmp_path: Path, mode: str) -> Iterator[SmallDisk]:
    """A disk of a few megabytes for the data of the trial `casemill`: its data folder, or its tables in PostgreSQL."""
    needs.require("tmpfs")
    folder = tmp_path / "casemill" / "data" if mode == "embedded" else server_folder / f"disk-{tmp_path.name}"
    with SmallDisk(folder, 20 if mode == "embedded" else 24) as disk:
        if mode == "scaled":
            (folder / "tables").mkdir()
        yield disk
