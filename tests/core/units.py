"""Units of work that tests of the database run."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import insert, select

from core.database.session import Database
from core.database.types import Transaction
from core.leases import Lease


def add(name: str) -> Callable[[Transaction], str]:
    """A unit that adds one row."""

    def unit(session: Transaction) -> str:
        session.connection().execute(insert(Lease).values(name=name))
        return name

    return unit


def names(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.execute(select(Lease.name).order_by(Lease.name)).scalars())
