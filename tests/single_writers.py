"""Find statements that write a table or column with a single writer, by reading the code."""

from __future__ import annotations

import ast
from collections.abc import Iterator

#: Functions that write rows of the table they are given, of SQLAlchemy and of core.database.bulk.
WRITING = {"insert", "update", "delete", "insert_all", "insert_ignore", "insert_with_ids", "update_all"}
#: Columns of follow_up that no other table has.
FOLLOW_UP_COLUMNS = {"assignee_id", "done_at", "team_id"}


def find_stage_writes(tree: ast.AST) -> list[int]:
    """Return the lines that assign a ``stage``, or write tickets with one."""
    lines = [line for line, name in _assigned_attributes(tree) if name == "stage"]
    if _writes_table(tree, "Ticket"):
        lines += [node.lineno for node in ast.walk(tree) if _names_column(node, "stage")]
    return sorted(lines)


def find_version_writes(tree: ast.AST) -> list[int]:
    """Return the lines that assign a ``version`` or count one up, or write tickets with one."""
    lines = [line for line, name in _assigned_attributes(tree) if name == "version"]
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            lines += [
                node.lineno for side in (node.left, node.right) if isinstance(side, ast.Attribute) and side.attr == "version"
            ]
    if _writes_table(tree, "Ticket"):
        lines += [node.lineno for node in ast.walk(tree) if _names_column(node, "version")]
    return sorted(set(lines))


def find_activity_writes(tree: ast.AST) -> list[int]:
    """Return the lines that make or write rows of ``activity``."""
    return _table_writes(tree, "Activity")


def find_follow_up_writes(tree: ast.AST) -> list[int]:
    """Return the lines that make or write rows of ``follow_up``, or assign a column that only it has."""
    assigned = [line for line, name in _assigned_attributes(tree) if name in FOLLOW_UP_COLUMNS]
    return sorted([*_table_writes(tree, "FollowUp"), *assigned])


def _table_writes(tree: ast.AST, table: str) -> list[int]:
    names = _names_of(tree, table)
    return sorted(
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and (_is_made(node, names) or _is_written(node, names))
    )


def _writes_table(tree: ast.AST, table: str) -> bool:
    return bool(_table_writes(tree, table))


def _is_made(call: ast.Call, names: set[str]) -> bool:
    return isinstance(call.func, ast.Name | ast.Attribute) and ast.unparse(call.func) in names


def _is_written(call: ast.Call, names: set[str]) -> bool:
    function = ast.unparse(call.func).rpartition(".")[2]
    given = {ast.unparse(argument).removesuffix(".__table__") for argument in call.args}
    return function.removeprefix("postgresql_").removeprefix("sqlite_") in WRITING and bool(given & names)


def _names_of(tree: ast.AST, table: str) -> set[str]:
    """The names by which a module can mean the table's class: its own, an alias of an import, ``models.Table``."""
    names = {table, f"models.{table}"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names |= {alias.asname for alias in node.names if alias.name == table and alias.asname}
    return names


def _assigned_attributes(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of every attribute that is assigned, also by ``setattr`` with a literal name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "setattr" and isinstance(node.args[1], ast.Constant):
            yield node.lineno, str(node.args[1].value)


def _names_column(node: ast.AST, column: str) -> bool:
    """Whether a node gives a column a value: a keyword of ``values`` or of the class, or a key of a dict."""
    if isinstance(node, ast.Call):
        function = ast.unparse(node.func).rpartition(".")[2]
        return function in ("values", "Ticket") and any(keyword.arg == column for keyword in node.keywords)
    if isinstance(node, ast.Dict):
        keys = {
            key.value if isinstance(key, ast.Constant) else key.attr
            for key in node.keys
            if isinstance(key, ast.Constant | ast.Attribute)
        }
        return column in keys
    return False
