"""Alembic's environment: runs the migrations in the transaction that core.migrations begins and commits."""

from alembic import context

from core.database.types import Base


def run() -> None:
    """Run the migrations on the connection that core.migrations has put into the configuration."""
    connection = context.config.attributes["connection"]
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
    context.run_migrations()


run()
