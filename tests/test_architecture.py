"""Rules of the architecture that a program can check (docs/architecture.md, Rules)."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import single_writers
from tests.product import FILES as PRODUCT
from tests.product import PACKAGES, ROOT

FILES = sorted([*PRODUCT, *(ROOT / "migrations").rglob("*.py")])
#: What Alembic writes is one long function by nature.
WRITTEN_BY_HAND = [path for path in FILES if "versions" not in path.parts]
LONGEST_FUNCTION, LONGEST_FILE = 50, 400


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def calls(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything called in a file."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func)


def test_the_files_are_found() -> None:
    assert len(FILES) > 50
    assert {name(path) for path in FILES} >= {
        "workers.py",
        "core/database/session.py",
        "tickets/intake.py",
        "ingest/sources/imap/watcher.py",
    }


def test_commit_is_called_in_the_database_module_only() -> None:
    # The migrations run before there are sessions, and commit the connection they were handed.
    allowed = {"core/database/session.py", "migrations/env.py"}
    found = {name(path) for path in FILES for _, called in calls(path) if called.endswith(".commit")}
    assert found - allowed == set()
    assert "core/database/session.py" in found


def test_the_time_of_day_comes_from_the_clock_module_only() -> None:
    clocks = ("datetime.now", "datetime.utcnow", "datetime.today", "date.today", "time.time", "time.time_ns", "time.localtime")
    found = {
        f"{name(path)}:{line} {called}"
        for path in FILES
        if name(path) != "core/clock.py"
        for line, called in calls(path)
        if called in clocks or called.endswith(tuple(f".{clock}" for clock in clocks[:4]))
    }
    assert found == set()


def test_nobody_imports_a_clock_under_another_name() -> None:
    found = {
        f"{name(path)}:{node.lineno}"
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ImportFrom)
        and node.module == "time"
        and {"time", "time_ns", "localtime"} & {alias.name for alias in node.names}
    }
    assert found == set()


def test_tickets_name_no_template_and_no_mailing() -> None:
    mailings = {path.name for path in (ROOT / "templates" / "email").iterdir() if not path.name.startswith("_")}
    assert {"ticket_created", "ticket_assigned"} <= mailings
    mailings -= {"escalation"}  # a word of the domain too: the kind of a task
    for path in (ROOT / "tickets").rglob("*.py"):
        words = {node.value for node in ast.walk(tree(path)) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        assert words & mailings == set(), name(path)
        # Staff edit the templates of their own messages, which tickets/template_sandbox.py fills with Jinja.
        forbidden = {"notify", "smtplib", "email"} | ({"jinja2"} if path.name != "template_sandbox.py" else set())
        assert {alias for alias in _imports(path) if alias.split(".")[0] in forbidden} == set(), name(path)


#: What has one writer, how its writes are found, and the only file that may write it.
SINGLE_WRITERS = [
    pytest.param(single_writers.find_stage_writes, "tickets/lifecycle.py", id="stage"),
    pytest.param(single_writers.find_version_writes, "tickets/timeline.py", id="version"),
    pytest.param(single_writers.find_activity_writes, "tickets/timeline.py", id="activity"),
    pytest.param(single_writers.find_follow_up_writes, "tickets/follow_ups.py", id="follow-up"),
]


@pytest.mark.parametrize(("find_writes", "writer"), SINGLE_WRITERS)
def test_stage_timeline_and_follow_ups_have_one_writer_each(find_writes: Callable[[ast.AST], list[int]], writer: str) -> None:
    found = {name(path) for path in WRITTEN_BY_HAND if find_writes(tree(path))}
    assert found == {writer}


@pytest.mark.parametrize(
    ("find_writes", "code"),
    [
        (single_writers.find_stage_writes, "ticket.stage = 6"),
        (single_writers.find_stage_writes, "before, ticket.stage = ticket.stage, 6"),
        (single_writers.find_stage_writes, "setattr(ticket, 'stage', 6)"),
        (single_writers.find_stage_writes, "session.execute(update(Ticket).values(stage=6))"),
        (single_writers.find_stage_writes, "session.execute(update(Ticket).values({Ticket.stage: 6}))"),
        (single_writers.find_stage_writes, "changes = [{'id': 1, 'stage': 6}]\nupdate_all(session, Ticket, changes)"),
        (
            single_writers.find_stage_writes,
            "from tickets.models import Ticket as Case\nsession.execute(update(Case), [{'stage': 6}])",
        ),
        (single_writers.find_version_writes, "ticket.version += 1"),
        (single_writers.find_version_writes, "values = {'version': Ticket.version + 1}"),
        (single_writers.find_version_writes, "update_all(session, Ticket, [{'id': 1, 'version': 7}])"),
        (single_writers.find_activity_writes, "session.add(Activity(ticket_id=1))"),
        (single_writers.find_activity_writes, "session.execute(insert(Activity), rows)"),
        (single_writers.find_activity_writes, "insert_all(session, models.Activity, rows)"),
        (single_writers.find_activity_writes, "sqlite_insert(Activity.__table__).values(row)"),
        (single_writers.find_follow_up_writes, "insert_ignore(session, FollowUp, rows)"),
        (single_writers.find_follow_up_writes, "session.execute(update(FollowUp).values(title=''))"),
        (single_writers.find_follow_up_writes, "task.done_at = now"),
    ],
)
def test_a_write_by_another_module_is_found(find_writes: Callable[[ast.AST], list[int]], code: str) -> None:
    assert find_writes(ast.parse(code))


@pytest.mark.parametrize(
    ("find_writes", "code"),
    [
        (single_writers.find_stage_writes, "select(Ticket.stage).where(Ticket.stage < 6)"),
        (single_writers.find_stage_writes, "row = {'stage': STAGE_NAMES[ticket.stage]}"),
        (single_writers.find_stage_writes, "replace(view, stage=4)"),
        (single_writers.find_version_writes, "row = {'version': ticket.version}"),
        (single_writers.find_activity_writes, "select(Activity).where(Activity.id == 1)"),
        (single_writers.find_follow_up_writes, "select(FollowUp).where(FollowUp.done_at.is_(None))"),
    ],
)
def test_reading_is_no_write(find_writes: Callable[[ast.AST], list[int]], code: str) -> None:
    assert find_writes(ast.parse(code)) == []


def test_the_core_knows_nothing_of_tickets() -> None:
    packages = set(PACKAGES) - {"core"}
    for path in (ROOT / "core").rglob("*.py"):
        assert {alias.split(".")[0] for alias in _imports(path)} & packages == set(), name(path)


@pytest.mark.parametrize("path", WRITTEN_BY_HAND, ids=name)
def test_functions_and_files_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST_FILE
    functions = [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert {f.name: _length(f) for f in functions if _length(f) > LONGEST_FUNCTION} == {}


def test_half_of_all_functions_are_about_ten_lines() -> None:
    lengths = sorted(
        _length(node)
        for path in WRITTEN_BY_HAND
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    assert lengths[len(lengths) // 2] <= 12
    assert lengths[len(lengths) * 9 // 10] <= 30


def test_nothing_is_left_to_do_and_no_test_is_left_out() -> None:
    marks = ("TO" + "DO", "FIX" + "ME", "XX" + "X")
    found = [name(path) for path in FILES for line in path.read_text().splitlines() if any(mark in line for mark in marks)]
    assert found == []
    left_out = {
        f"{name(path)}:{node.lineno}"
        for path in (ROOT / "tests").rglob("*.py")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute)
        and node.attr in ("skip", "skipif", "xfail", "importorskip")
        and ast.unparse(node.value) in ("pytest", "pytest.mark")
    }
    assert left_out == set()


def test_every_module_and_every_public_class_says_what_it_is() -> None:
    silent = []
    for path in FILES:
        module = tree(path)
        if module.body and ast.get_docstring(module) is None:
            silent.append(name(path))
        silent += [
            f"{name(path)}: {node.name}"
            for node in module.body
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and ast.get_docstring(node) is None
        ]
    assert silent == []


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_libraries_that_were_tried_and_found_wanting_are_not_used(lock: str) -> None:
    pinned = {line.partition("==")[0].lower() for line in (ROOT / lock).read_text().splitlines() if "==" in line}
    wanting = {
        "html2text", "puremagic", "quotequail", "mail-parser-reply", "talon", "email-reply-parser", "passlib", "workalendar",
        "businesstimedelta", "exchangelib",
    }  # fmt: skip
    assert "mail-parser" in pinned
    assert pinned & wanting == set()


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1
