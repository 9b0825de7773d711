"""Units that tests of transactions run: they add and read rows of the lease table."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import insert, select

from core.database.session import Database
from core.database.types import Transaction
from core.leases import Lease


def add_lease(name: str) -> Callable[[Transaction], str]:
    """Return a unit that adds one row and returns its name."""

    def unit(session: Transaction) -> str:
        session.connection().execute(insert(Lease).values(name=name))
        return name

    return unit


def read_names(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.execute(select(Lease.name).order_by(Lease.name)).scalars())
