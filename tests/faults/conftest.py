"""Trials for the fault tests, and the collecting of what they came to."""

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
_LEFT_OUT = pytest.StashKey[dict[str, pytest.Item]]()
_FAILED = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fault(*names): the faults a test is about, as lines of the fault report")
    config.stash[_REPORT] = Report()
    config.stash[_LEFT_OUT] = {}


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
        items = [*session.items, *session.config.stash[_LEFT_OUT].values()]
        report.write(Path(path), kept={item.originalname for item in items if isinstance(item, pytest.Function)})


def _not_run(config: pytest.Config) -> list[Row]:
    """A line for each test that this platform cannot run."""
    rows = []
    for server, nodeid in config.stash[NOT_RUN]:
        if nodeid in config.stash[_LEFT_OUT]:
            rows.append(row_of(config.stash[_LEFT_OUT][nodeid]))
            rows[-1].runs, rows[-1].outcome = 0, f"NOT RUN: {needs.explain_missing(server)}"
    return rows


def pytest_deselected(items: list[pytest.Item]) -> None:
    for item in items:
        item.config.stash[_LEFT_OUT][item.nodeid] = item


def row_of(item: Any) -> Row:
    """The line of a test before it is run; a test without the marker is about no fault and has none."""
    marker = item.get_closest_marker("fault")
    names = marker.args if marker else ()
    params = item.callspec.params if hasattr(item, "callspec") else {}
    mode = params.get("mode") or params.get("shared_mode") or "embedded"
    return Row(tuple(names), item.originalname, mode, form="full" if FULL else "short")


@pytest.fixture(autouse=True)
def row(request: pytest.FixtureRequest) -> Row:
    """The test's line in the report. A test whose runs are many or seeded says so here."""
    row = row_of(request.node)
    if row.faults:
        request.config.stash[_REPORT].rows.append(row)
    request.node.stash[_ROW] = row
    return row


@pytest.fixture
def seed(row: Row) -> int:
    """The seed of this run, printed and in the report."""
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
    """Makes trials; their processes are not yet started."""
    with ExitStack() as stack:

        def make(name: str = "mill", **options: Any) -> Trial:
            trial = Trial(tmp_path / name, servers, **options)
            stack.callback(trial.close)
            return trial

        yield make


@pytest.fixture
def trial(make_trial: Callable[..., Trial]) -> Trial:
    return make_trial()


@pytest.fixture(scope="package", params=list(MODES))
def shared_mode(request: pytest.FixtureRequest) -> str:
    """As `mode`, for tests that share a running casemill."""
    return str(request.param)


@pytest.fixture(scope="package")
def _shared_trials() -> Iterator[dict[str, SharedTrial]]:
    kept: dict[str, SharedTrial] = {}
    yield kept
    for shared_trial in kept.values():
        shared_trial.close()


@pytest.fixture
def shared_trial(
    request: pytest.FixtureRequest, shared_mode: str, _shared_trials: dict[str, SharedTrial], certificates: Certificates,
    tmp_path_factory: pytest.TempPathFactory, server_folder: Path,
) -> Iterator[SharedTrial]:  # fmt: skip
    """A casemill that stays up from test to test; after a failed one the next gets another."""
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
    """Path of the program that injects faults into system calls."""
    needs.require("strace")
    return str(find_program("strace"))


@pytest.fixture(scope="session")
def tracing() -> None:
    """What attaches to running processes works here."""
    needs.require("ptrace")


@pytest.fixture
def small_disk(server_folder: Path, tmp_path: Path, mode: str) -> Iterator[SmallDisk]:
    """A disk of a few megabytes for the data of the trial `mill`: its folder, or its tables in PostgreSQL."""
    needs.require("tmpfs")
    folder = tmp_path / "mill" / "data" if mode == "embedded" else server_folder / f"disk-{tmp_path.name}"
    with SmallDisk(folder, 20 if mode == "embedded" else 24) as disk:
        if mode == "scaled":
            (folder / "tables").mkdir()
        yield disk
