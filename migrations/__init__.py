"""Schema migrations, run on SQLite and PostgreSQL."""
