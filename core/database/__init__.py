"""The database: transactions, engines, SQLite's writer and checkpoints, bulk writes, set membership, column types."""
