"""Membership in a list of many values that is passed as one parameter: ``WHERE sha256 IN (the values)``.

With one parameter for each value, each number of values would be a different statement, which SQLAlchemy compiles, the driver
parses and the database plans anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from sqlalchemy import BindParameter, ColumnElement, Integer, String, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.functions import FunctionElement


def in_list(column: ColumnElement[Any] | InstrumentedAttribute[Any], values: Iterable[Any]) -> ColumnElement[bool]:
    """Return the condition that ``column``, of integers or texts, has one of ``values``; a None among them matches no row."""
    return _membership(column, bindparam(None, encode_list(values), String))


def in_list_parameter(column: ColumnElement[Any] | InstrumentedAttribute[Any], name: str = "values") -> ColumnElement[bool]:
    """Return the same condition for a statement that is built once.

    Each execution passes the values as parameter ``name``, encoded by :func:`encode_list`.
    """
    return _membership(column, bindparam(name, type_=String))


def encode_list(values: Iterable[Any]) -> str:
    """Return ``values`` as one parameter: a JSON list, without its None."""
    return msgspec.json.encode([value for value in values if value is not None]).decode()


def _membership(column: ColumnElement[Any] | InstrumentedAttribute[Any], parameter: BindParameter[str]) -> ColumnElement[bool]:
    kind = _Numbers if isinstance(column.type, Integer) else _Texts
    return _Membership(column, kind(parameter))


class _Membership(FunctionElement[bool]):
    """The condition that the first operand is in the second.

    On PostgreSQL the list is an array. The planner expects a hundred rows of any subquery, and scans a whole table of some
    thousand rows to find one; of an array it expects ten, and uses the index. The element has no type, because SQLAlchemy
    compares a Boolean with ``= 1`` on SQLite, which then scans every row.
    """

    inherit_cache = True


@compiles(_Membership, "sqlite")
def _compile_in_subquery(element: FunctionElement[Any], compiler: Any, **options: Any) -> str:
    column, values = (compiler.process(clause, **options) for clause in element.clauses)
    return f"({column} IN {values})"


@compiles(_Membership, "postgresql")
def _compile_in_array(element: FunctionElement[Any], compiler: Any, **options: Any) -> str:
    column, values = (compiler.process(clause, **options) for clause in element.clauses)
    return f"({column} = ANY(ARRAY{values}))"


class _Numbers(FunctionElement[int]):
    """The elements of a JSON list of numbers, as a subquery."""

    type = Integer()
    inherit_cache = True


class _Texts(FunctionElement[str]):
    """The elements of a JSON list of texts, as a subquery."""

    type = String()
    inherit_cache = True


@compiles(_Numbers, "sqlite")
@compiles(_Texts, "sqlite")
def _compile_json_each(element: FunctionElement[Any], compiler: Any, **options: Any) -> str:
    return f"(SELECT value FROM json_each({compiler.process(element.clauses, **options)}))"  # noqa: S608 - a parameter


@compiles(_Numbers, "postgresql")
def _compile_numbers(element: FunctionElement[Any], compiler: Any, **options: Any) -> str:
    return number_list_subquery(compiler.process(element.clauses, **options))


@compiles(_Texts, "postgresql")
def _compile_texts(element: FunctionElement[Any], compiler: Any, **options: Any) -> str:
    return _elements(compiler.process(element.clauses, **options), "value")


def number_list_subquery(parameter: str) -> str:
    """Return PostgreSQL's subquery for the numbers in a parameter encoded by :func:`encode_list`; ``ARRAY`` makes it an array."""
    return _elements(parameter, "CAST(value AS bigint)")


def _elements(parameter: str, expression: str) -> str:
    return f"(SELECT {expression} FROM json_array_elements_text(CAST({parameter} AS json)))"  # noqa: S608 - a parameter
