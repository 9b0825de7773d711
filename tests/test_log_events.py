"""docs/log-events.md lists every log event of the product once, with the level and the module that logs it."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.product import FILES, ROOT

TABLE = ROOT / "docs" / "log-events.md"
METHODS = {"debug", "info", "warning", "error", "critical", "exception"}
ROW = re.compile(
    r"\| `(?P<event>[^`]+)` \| (?P<level>\w+) \| `(?P<module>[\w./]+)` \| (?P<meaning>[^|]+) \| (?P<action>[^|]+) \|"
)


@dataclass(frozen=True)
class Call:
    """A call of a logger: its event is None where it is no constant."""

    event: str | None
    level: str
    place: str

    @property
    def module(self) -> str:
        return self.place.partition(":")[0]


def find_calls(path: Path) -> Iterator[Call]:
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS):
            continue
        if not re.fullmatch(r"(self\.)?_?log(ger)?|logging\.getLogger\(.*\)", ast.unparse(node.func.value)):
            continue
        first = node.args[0] if node.args else None
        event = first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None
        level = "error" if node.func.attr == "exception" else node.func.attr
        yield Call(event, level, f"{path.relative_to(ROOT)}:{node.lineno}")


CALLS = [call for path in FILES for call in find_calls(path)]
ROWS = [match.groupdict() for line in TABLE.read_text().splitlines() if (match := ROW.match(line))]


def test_log_calls_are_found() -> None:
    assert len(CALLS) > 30


def test_every_event_is_a_constant_phrase() -> None:
    odd = [
        call.place for call in CALLS if call.event is None or not re.fullmatch(r"[a-z0-9][a-zA-Z0-9 ,;/-]*[a-z0-9]", call.event)
    ]
    assert odd == []


def test_every_event_is_logged_from_one_place() -> None:
    count = Counter(call.event for call in CALLS)
    assert {event: number for event, number in count.items() if number > 1} == {}


def test_table_has_every_event_with_its_level_and_module() -> None:
    logged = {(call.event, call.level, call.module) for call in CALLS}
    listed = {(row["event"], row["level"], row["module"]) for row in ROWS}
    assert logged - listed == set(), "missing in docs/log-events.md"
    assert listed - logged == set(), "no longer logged"


def test_table_is_sorted_and_lists_each_event_once() -> None:
    events = [row["event"] for row in ROWS]
    assert events == sorted(set(events))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["event"])
def test_every_row_says_what_it_means_and_what_to_do(row: dict[str, str]) -> None:
    assert len(row["meaning"].split()) >= 3 and row["action"].strip()
