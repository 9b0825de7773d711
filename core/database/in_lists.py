"""Membership in a set of many values, as one parameter: ``WHERE sha256 IN (the values)``.

A parameter a value would make a statement of another text for each number of values, to be put together, prepared and planned
anew every time; on PostgreSQL the driver takes each such text apart as well.
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
    """Whether ``column``, of whole numbers or texts, has one of ``values``; None among them matches nothing."""
    return _one_of(column, bindparam(None, encode_list(values), String))


def in_list_parameter(column: ColumnElement[Any] | InstrumentedAttribute[Any], name: str = "listed") -> ColumnElement[bool]:
    """The same in a statement that is made once: the values are given under ``name`` as it is executed, by :func:`listed`."""
    return _one_of(column, bindparam(name, type_=String))


def encode_list(values: Iterable[Any]) -> str:
    """Values as the one parameter they go as."""
    return msgspec.json.encode([value for value in values if value is not None]).decode()


def _one_of(column: ColumnElement[Any] | InstrumentedAttribute[Any], parameter: BindParameter[str]) -> ColumnElement[bool]:
    kind = _Numbers if isinstance(column.type, Integer) else _Texts
    return _Membership(column, kind(parameter))


class _Membership(FunctionElement[bool]):
    """Whether the first is among the second.

    PostgreSQL is given an array. Of a subquery it expects a hundred rows whatever comes, and reads a whole table of some thousand
    rows for one; of an array it expects ten, and asks the index. It has no type: behind a Boolean SQLite would be given ``= 1``,
    and read every row.
    """

    inherit_cache = True


@compiles(_Membership, "sqlite")
def _in_subquery(element: FunctionElement[Any], compiler: Any, **options: Any) -> str:
    column, values = (compiler.process(clause, **options) for clause in element.clauses)
    return f"({column} IN {values})"


@compiles(_Membership, "postgresql")
def _in_array(element: FunctionElement[Any], compiler: Any, **options: Any) -> str:
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
def _by_json_each(element: FunctionElement[Any], compiler: Any, **options: Any) -> str:
    return f"(SELECT value FROM json_each({compiler.process(element.clauses, **options)}))"  # noqa: S608 - a parameter


@compiles(_Numbers, "postgresql")
def _numbers(element: FunctionElement[Any], compiler: Any, **options: Any) -> str:
    return number_list_subquery(compiler.process(element.clauses, **options))


@compiles(_Texts, "postgresql")
def _texts(element: FunctionElement[Any], compiler: Any, **options: Any) -> str:
    return _elements(compiler.process(element.clauses, **options), "value")


def number_list_subquery(parameter: str) -> str:
    """PostgreSQL's subquery for the numbers in a parameter made by :func:`listed`; behind ``ARRAY`` it is an array."""
    return _elements(parameter, "CAST(value AS bigint)")


def _elements(parameter: str, wanted: str) -> str:
    return f"(SELECT {wanted} FROM json_array_elements_text(CAST({parameter} AS json)))"  # noqa: S608 - a parameter
